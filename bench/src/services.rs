//! The process ids of RabbitMQ and MariaDB, for their share of the CPU time: `{"rabbitmq": {"pid": 12}, ...}` in the file
//! that `$BEDS_TEST_SERVICES` names. Without the file, or a service in it, the report has no share.

use std::path::Path;

use serde_json::Value;

use crate::process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    RabbitMq,
    MariaDb,
}

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::RabbitMq => "RabbitMQ",
            Service::MariaDb => "MariaDB",
        }
    }

    /// Its name in the file.
    fn key(self) -> &'static str {
        match self {
            Service::RabbitMq => "rabbitmq",
            Service::MariaDb => "mariadb",
        }
    }
}

/// The services that were found, each with its processes.
pub(crate) struct Services(Vec<(Service, Vec<u32>)>);

impl Services {
    pub(crate) fn find(file: Option<&Path>) -> Self {
        let text = file.and_then(|file| std::fs::read_to_string(file).ok());
        let tree: Value =
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let pid = |service: Service| u32::try_from(tree[service.key()]["pid"].as_u64()?).ok();
        let find = |service| Some((service, process::with_descendants(pid(service)?)));
        Self([Service::RabbitMq, Service::MariaDb].into_iter().filter_map(find).collect())
    }

    pub(crate) fn cpu_micros(&self) -> Vec<(Service, u64)> {
        let sum = |pids: &[u32]| pids.iter().filter_map(|pid| process::cpu_micros(*pid)).sum();
        self.0.iter().map(|(service, pids)| (*service, sum(pids))).collect()
    }
}
