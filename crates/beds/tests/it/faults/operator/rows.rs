//! The table of faults: the answers that callers may see in each, and the signals that the nodes must give. It was written before the
//! run.
//!
//! Not here: the making of a fault (cluster.rs).

/// A fault, with its expected effects, written before the run.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) fault: Fault,
    /// Codes that callers may see beside success.
    pub(super) codes: &'static [&'static str],
    /// The answer of a node's `/readyz` meanwhile; empty where nothing is to be said.
    pub(super) signal: &'static str,
    /// In full runs only: it needs the services for itself.
    pub(super) is_full: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// Each node of a role in turn, ended and started again.
    Roll(&'static str, &'static str),
    /// All nodes of a role at once, away for so many seconds.
    Away(&'static str, u64),
    /// A service, killed and away for so many seconds.
    Killed(&'static str, u64),
    /// A service, frozen for so many seconds.
    Frozen(&'static str, u64),
    /// RabbitMQ has no memory left, for so many seconds.
    Alarm(u64),
    /// The second admin node comes up with the name of the first.
    SameName,
    /// The second worker comes up with another value of a key, which keeps it from its work.
    Wrong(&'static str, &'static str),
}

const BROKER: &[&str] = &["BEDS-0013", "BEDS-0014", "BEDS-0015", "BEDS-0011", "refused"];
/// The same, and the moment after it: a gateway can be connected again before the consumers of the workers are.
const BROKER_BACK: &[&str] =
    &["BEDS-0013", "BEDS-0014", "BEDS-0015", "BEDS-0011", "BEDS-0016", "refused"];
/// A killed worker leaves a transaction open in MongoDB for a while: its key is in use (0011), and its document is in the way of
/// other writes (0013). Without any worker, requests are refused at once (0016).
const KILLED: &[&str] = &["BEDS-0014", "BEDS-0015", "BEDS-0011", "BEDS-0013", "BEDS-0016"];
/// A worker that ends leaves nothing behind.
const ENDED: &[&str] = &["BEDS-0011"];
const STORE: &[&str] = &["BEDS-0016", "BEDS-0014", "BEDS-0015", "BEDS-0011", "BEDS-0013"];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "workers end and come back, one by one",
        fault: Fault::Roll("wk", "TERM"),
        codes: ENDED,
        signal: "",
        is_full: false,
    },
    Row {
        name: "workers are killed, one by one",
        fault: Fault::Roll("wk", "KILL"),
        codes: KILLED,
        signal: "",
        is_full: false,
    },
    Row {
        name: "admin nodes are killed, one by one",
        fault: Fault::Roll("ad", "KILL"),
        codes: &[],
        signal: "",
        is_full: false,
    },
    Row {
        name: "gateways end and come back, one by one",
        fault: Fault::Roll("gw", "TERM"),
        codes: &["refused", "BEDS-0013", "BEDS-0011"],
        signal: "",
        is_full: false,
    },
    Row {
        name: "an admin node with the name of another",
        fault: Fault::SameName,
        codes: &[],
        signal: "",
        is_full: false,
    },
    Row {
        name: "both workers are killed at once",
        fault: Fault::Away("wk", 1),
        codes: KILLED,
        signal: "",
        is_full: false,
    },
    Row {
        name: "a worker with a wrong login for MariaDB",
        fault: Fault::Wrong(
            "BEDS__DATABASES__REL__MAIN__URL",
            "mysql://nobody:wrong@127.0.0.1:1/main",
        ),
        codes: ENDED,
        signal: "databases.rel.main",
        is_full: false,
    },
    Row {
        name: "a worker with other arguments of its queues",
        fault: Fault::Wrong("BEDS__AMQP__MAX_QUEUE_LENGTH", "77"),
        codes: ENDED,
        signal: "amqp",
        is_full: false,
    },
    Row {
        name: "both admin nodes away",
        fault: Fault::Away("ad", 30),
        codes: &[],
        signal: "",
        is_full: true,
    },
    Row {
        name: "all workers away: no consumer",
        fault: Fault::Away("wk", 20),
        codes: KILLED,
        signal: "no node takes from",
        is_full: true,
    },
    Row {
        name: "MariaDB is killed",
        fault: Fault::Killed("mariadb", 5),
        codes: STORE,
        signal: "databases.rel.main",
        is_full: true,
    },
    Row {
        name: "MariaDB is frozen",
        fault: Fault::Frozen("mariadb", 20),
        codes: STORE,
        signal: "databases.rel.main",
        is_full: true,
    },
    Row {
        name: "MongoDB is killed",
        fault: Fault::Killed("mongodb", 5),
        codes: STORE,
        signal: "databases.rec.main",
        is_full: true,
    },
    Row {
        name: "MongoDB is away for long",
        fault: Fault::Killed("mongodb", 40),
        codes: STORE,
        signal: "databases.rec.main",
        is_full: true,
    },
    Row {
        name: "MongoDB is frozen",
        fault: Fault::Frozen("mongodb", 20),
        codes: STORE,
        signal: "databases.rec.main",
        is_full: true,
    },
    Row {
        name: "RabbitMQ is killed",
        fault: Fault::Killed("rabbitmq", 5),
        codes: BROKER_BACK,
        signal: "amqp",
        is_full: true,
    },
    Row {
        name: "RabbitMQ is frozen",
        fault: Fault::Frozen("rabbitmq", 30),
        codes: BROKER_BACK,
        signal: "amqp",
        is_full: true,
    },
    Row {
        name: "RabbitMQ has a memory alarm",
        fault: Fault::Alarm(15),
        codes: BROKER,
        signal: "takes no publishes",
        is_full: true,
    },
];
