-- Flights: departures from New York. `flight_id` identifies a record.
--
--   flights                     the table.
--   flights_rules_insert, flights_rules_update   triggers: a rule that holds for every login.
--   flights_create, _fetch, _list, _update, _delete
--   flights_by_route, flights_by_tailnum, flights_totals   named reads.
--   flights_delays_by_carrier   a job that reads.
--   flights_daily_refresh       a job in steps: it fills the table flights_daily; flights_daily_of reads a day of it.
--   airports_busy               a view, a named read of Airports.
--
-- Times of day are local, as hour * 100 + minute (517 is 5:17, 2400 is midnight); time_hour is the scheduled hour of
-- departure in UTC. It is a DATETIME, since a TIMESTAMP would be shifted by the session's time zone. Delays are in
-- minutes, negative when early. A cancelled flight has no dep_time, a diverted one no arr_delay: NULL.

CREATE TABLE IF NOT EXISTS flights (
  flight_id       BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  year            SMALLINT UNSIGNED NOT NULL,
  month           TINYINT UNSIGNED NOT NULL,
  day             TINYINT UNSIGNED NOT NULL,
  dep_time        SMALLINT UNSIGNED NULL,
  sched_dep_time  SMALLINT UNSIGNED NOT NULL,
  dep_delay       SMALLINT NULL,
  arr_time        SMALLINT UNSIGNED NULL,
  sched_arr_time  SMALLINT UNSIGNED NOT NULL,
  arr_delay       SMALLINT NULL,
  carrier         CHAR(2) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  flight          SMALLINT UNSIGNED NOT NULL,
  -- No foreign key: 721 tail numbers of the source are not in its list of planes, and some flights have none.
  tailnum         VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin NULL,
  origin          CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  -- No foreign key: four destinations in Puerto Rico and the Virgin Islands are not in the source's list of airports.
  dest            CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  air_time        SMALLINT UNSIGNED NULL,
  distance        SMALLINT UNSIGNED NOT NULL,
  hour            TINYINT UNSIGNED NOT NULL,
  minute          TINYINT UNSIGNED NOT NULL,
  time_hour       DATETIME NOT NULL,
  PRIMARY KEY (flight_id),
  KEY flights_route (origin, dest),
  KEY flights_tailnum (tailnum),
  KEY flights_carrier (carrier),
  CONSTRAINT flights_of_airline FOREIGN KEY (carrier) REFERENCES airlines (carrier),
  CONSTRAINT flights_from_airport FOREIGN KEY (origin) REFERENCES airports (faa),
  CONSTRAINT flights_month  CHECK (month BETWEEN 1 AND 12),
  CONSTRAINT flights_day    CHECK (day BETWEEN 1 AND 31),
  CONSTRAINT flights_hour   CHECK (hour BETWEEN 0 AND 23),
  CONSTRAINT flights_minute CHECK (minute BETWEEN 0 AND 59),
  CONSTRAINT flights_clock  CHECK (dep_time <= 2400 AND sched_dep_time <= 2400
                               AND arr_time <= 2400 AND sched_arr_time <= 2400)
) ENGINE = InnoDB COMMENT = 'Departures from New York';

-- Flights of a day by carrier, as flights_daily_refresh has counted them.
CREATE TABLE IF NOT EXISTS flights_daily (
  day        DATE NOT NULL,
  carrier    CHAR(2) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  flights    INT UNSIGNED NOT NULL,
  cancelled  INT UNSIGNED NOT NULL,
  PRIMARY KEY (day, carrier)
) ENGINE = InnoDB;

DELIMITER //

-- A rule in words of the DBA's: the caller gets 422 with this text. As triggers, so that there is one place and no way
-- past it; a rule about one procedure only can stand in that procedure (docs/dba.md).
CREATE OR REPLACE TRIGGER flights_rules_insert BEFORE INSERT ON flights FOR EACH ROW
BEGIN
  IF NEW.origin = NEW.dest THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a flight cannot end where it began: origin and dest are the same';
  END IF;
END //

CREATE OR REPLACE TRIGGER flights_rules_update BEFORE UPDATE ON flights FOR EACH ROW
BEGIN
  IF NEW.origin = NEW.dest THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a flight cannot end where it began: origin and dest are the same';
  END IF;
END //

-- p_flight_id may be NULL (or 0): MariaDB then makes the id.
CREATE OR REPLACE PROCEDURE flights_create(
  IN p_flight_id      BIGINT UNSIGNED,
  IN p_year           SMALLINT UNSIGNED,
  IN p_month          TINYINT UNSIGNED,
  IN p_day            TINYINT UNSIGNED,
  IN p_dep_time       SMALLINT UNSIGNED,
  IN p_sched_dep_time SMALLINT UNSIGNED,
  IN p_dep_delay      SMALLINT,
  IN p_arr_time       SMALLINT UNSIGNED,
  IN p_sched_arr_time SMALLINT UNSIGNED,
  IN p_arr_delay      SMALLINT,
  IN p_carrier        CHAR(2) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_flight         SMALLINT UNSIGNED,
  IN p_tailnum        VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_origin         CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_dest           CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_air_time       SMALLINT UNSIGNED,
  IN p_distance       SMALLINT UNSIGNED,
  IN p_hour           TINYINT UNSIGNED,
  IN p_minute         TINYINT UNSIGNED,
  IN p_time_hour      DATETIME)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: adds a flight'
BEGIN
  INSERT INTO flights
        (flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour)
  VALUES (p_flight_id, p_year, p_month, p_day, p_dep_time, p_sched_dep_time, p_dep_delay, p_arr_time,
          p_sched_arr_time, p_arr_delay, p_carrier, p_flight, p_tailnum, p_origin, p_dest, p_air_time,
          p_distance, p_hour, p_minute, p_time_hour);
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights WHERE flight_id = COALESCE(NULLIF(p_flight_id, 0), LAST_INSERT_ID());
END //

-- The busiest object of the sample: one row by primary key.
CREATE OR REPLACE PROCEDURE flights_fetch(
  IN p_id BIGINT UNSIGNED)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: a flight'
BEGIN
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights WHERE flight_id = p_id;
END //

CREATE OR REPLACE PROCEDURE flights_list(
  IN p_limit INT UNSIGNED,
  IN p_after BIGINT UNSIGNED)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: all, in order of their ids'
BEGIN
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights WHERE flight_id > COALESCE(p_after, 0) ORDER BY flight_id LIMIT p_limit;
END //

CREATE OR REPLACE PROCEDURE flights_update(
  IN p_id             BIGINT UNSIGNED,
  IN p_year           SMALLINT UNSIGNED,
  IN p_month          TINYINT UNSIGNED,
  IN p_day            TINYINT UNSIGNED,
  IN p_dep_time       SMALLINT UNSIGNED,
  IN p_sched_dep_time SMALLINT UNSIGNED,
  IN p_dep_delay      SMALLINT,
  IN p_arr_time       SMALLINT UNSIGNED,
  IN p_sched_arr_time SMALLINT UNSIGNED,
  IN p_arr_delay      SMALLINT,
  IN p_carrier        CHAR(2) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_flight         SMALLINT UNSIGNED,
  IN p_tailnum        VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_origin         CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_dest           CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_air_time       SMALLINT UNSIGNED,
  IN p_distance       SMALLINT UNSIGNED,
  IN p_hour           TINYINT UNSIGNED,
  IN p_minute         TINYINT UNSIGNED,
  IN p_time_hour      DATETIME,
  IN p_document       JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: changes the fields given'
BEGIN
  UPDATE flights
     SET year           = IF(JSON_EXISTS(p_document, '$.year'), p_year, year),
         month          = IF(JSON_EXISTS(p_document, '$.month'), p_month, month),
         day            = IF(JSON_EXISTS(p_document, '$.day'), p_day, day),
         dep_time       = IF(JSON_EXISTS(p_document, '$.dep_time'), p_dep_time, dep_time),
         sched_dep_time = IF(JSON_EXISTS(p_document, '$.sched_dep_time'), p_sched_dep_time, sched_dep_time),
         dep_delay      = IF(JSON_EXISTS(p_document, '$.dep_delay'), p_dep_delay, dep_delay),
         arr_time       = IF(JSON_EXISTS(p_document, '$.arr_time'), p_arr_time, arr_time),
         sched_arr_time = IF(JSON_EXISTS(p_document, '$.sched_arr_time'), p_sched_arr_time, sched_arr_time),
         arr_delay      = IF(JSON_EXISTS(p_document, '$.arr_delay'), p_arr_delay, arr_delay),
         carrier        = IF(JSON_EXISTS(p_document, '$.carrier'), p_carrier, carrier),
         flight         = IF(JSON_EXISTS(p_document, '$.flight'), p_flight, flight),
         tailnum        = IF(JSON_EXISTS(p_document, '$.tailnum'), p_tailnum, tailnum),
         origin         = IF(JSON_EXISTS(p_document, '$.origin'), p_origin, origin),
         dest           = IF(JSON_EXISTS(p_document, '$.dest'), p_dest, dest),
         air_time       = IF(JSON_EXISTS(p_document, '$.air_time'), p_air_time, air_time),
         distance       = IF(JSON_EXISTS(p_document, '$.distance'), p_distance, distance),
         hour           = IF(JSON_EXISTS(p_document, '$.hour'), p_hour, hour),
         minute         = IF(JSON_EXISTS(p_document, '$.minute'), p_minute, minute),
         time_hour      = IF(JSON_EXISTS(p_document, '$.time_hour'), p_time_hour, time_hour)
   WHERE flight_id = p_id;
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights WHERE flight_id = p_id;
END //

CREATE OR REPLACE PROCEDURE flights_delete(
  IN p_id BIGINT UNSIGNED)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: removes a flight'
BEGIN
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights WHERE flight_id = p_id FOR UPDATE;
  DELETE FROM flights WHERE flight_id = p_id;
END //

-- Both further reads find their page in one range of one index: InnoDB ends each index with the primary key.
CREATE OR REPLACE PROCEDURE flights_by_route(
  IN p_origin CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_dest   CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_limit  INT UNSIGNED,
  IN p_after  BIGINT UNSIGNED)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: from one airport to another'
BEGIN
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights
   WHERE origin = p_origin AND dest = p_dest AND flight_id > COALESCE(p_after, 0)
   ORDER BY flight_id LIMIT p_limit;
END //

CREATE OR REPLACE PROCEDURE flights_by_tailnum(
  IN p_tailnum VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_limit   INT UNSIGNED,
  IN p_after   BIGINT UNSIGNED)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: of one plane'
BEGIN
  SELECT flight_id, year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
         carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM flights
   WHERE tailnum = p_tailnum AND flight_id > COALESCE(p_after, 0)
   ORDER BY flight_id LIMIT p_limit;
END //

-- SUM of integers is a DECIMAL, which JSON carries as text; these sums fit a BIGINT, which it carries as a number.
CREATE OR REPLACE PROCEDURE flights_totals()
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: count and sums as one row'
BEGIN
  SELECT COUNT(*)                                    AS flights,
         CAST(COALESCE(SUM(distance), 0) AS SIGNED)  AS distance,
         CAST(COALESCE(SUM(air_time), 0) AS SIGNED)  AS air_time,
         CAST(COALESCE(SUM(dep_delay), 0) AS SIGNED) AS dep_delay
    FROM flights;
END //

-- A job: it reads the whole table, so callers get a ticket. Each argument may be left out.
-- p_from and p_to are days in UTC, and p_to is part of the period.
CREATE OR REPLACE PROCEDURE flights_delays_by_carrier(
  IN p_origin CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_from   DATE,
  IN p_to     DATE)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: delays and cancellations of each airline'
BEGIN
  SELECT f.carrier, a.name,
         COUNT(*)                                   AS flights,
         CAST(SUM(f.dep_time IS NULL) AS SIGNED)    AS cancelled,
         CAST(ROUND(AVG(f.dep_delay), 2) AS DOUBLE) AS avg_dep_delay,
         CAST(ROUND(AVG(f.arr_delay), 2) AS DOUBLE) AS avg_arr_delay,
         MAX(f.arr_delay)                           AS max_arr_delay
    FROM flights AS f
    JOIN airlines AS a ON a.carrier = f.carrier
   WHERE (p_origin IS NULL OR f.origin = p_origin)
     AND (p_from IS NULL OR f.time_hour >= p_from)
     AND (p_to IS NULL OR f.time_hour < p_to + INTERVAL 1 DAY)
   GROUP BY f.carrier, a.name
   ORDER BY avg_arr_delay DESC, f.carrier;
END //

-- A job in steps. Each call counts the next p_limit days behind p_after, in a transaction of BEDS's own, and says where the next
-- call begins: NULL behind the last day. A step that was cut off has done nothing, and no step takes effect twice.
CREATE OR REPLACE PROCEDURE flights_daily_refresh(
  IN p_after DATE,
  IN p_limit INT,
  IN p_from  DATE,
  IN p_to    DATE)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: counts the flights of each day anew'
BEGIN
  DECLARE first_day DATE DEFAULT COALESCE(p_after + INTERVAL 1 DAY, p_from);
  DECLARE last_day  DATE DEFAULT LEAST(first_day + INTERVAL p_limit - 1 DAY, p_to);
  DELETE FROM flights_daily WHERE day BETWEEN first_day AND last_day;
  INSERT INTO flights_daily (day, carrier, flights, cancelled)
  SELECT DATE(f.time_hour), f.carrier, COUNT(*), SUM(f.dep_time IS NULL)
    FROM flights AS f
   WHERE f.time_hour >= first_day AND f.time_hour < last_day + INTERVAL 1 DAY
   GROUP BY DATE(f.time_hour), f.carrier;
  SELECT IF(last_day < p_to, last_day, NULL)       AS next,
         GREATEST(DATEDIFF(last_day, first_day) + 1, 0) AS done,
         DATEDIFF(p_to, p_from) + 1                AS total;
END //

CREATE OR REPLACE PROCEDURE flights_daily_of(IN p_day DATE)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Flights: the flights of a day by carrier'
BEGIN
  SELECT d.day, d.carrier, d.flights, d.cancelled FROM flights_daily AS d WHERE d.day = p_day ORDER BY d.carrier;
END //

DELIMITER ;

-- The hundred busiest airports of the sample. A view is called as SELECT * FROM airports_busy LIMIT ?, so it takes no
-- arguments. MariaDB answers in the order of its ORDER BY, but SQL does not promise that: a procedure would.
CREATE OR REPLACE SQL SECURITY DEFINER VIEW airports_busy AS
SELECT a.faa, a.name,
       CAST(SUM(m.departures) AS SIGNED) AS departures,
       CAST(SUM(m.arrivals) AS SIGNED)   AS arrivals
  FROM (SELECT origin AS faa, COUNT(*) AS departures, 0 AS arrivals FROM flights GROUP BY origin
         UNION ALL
        SELECT dest, 0, COUNT(*) FROM flights GROUP BY dest) AS m
  JOIN airports AS a ON a.faa = m.faa
 GROUP BY a.faa, a.name
 ORDER BY SUM(m.departures + m.arrivals) DESC, a.faa
 LIMIT 100;

GRANT EXECUTE ON PROCEDURE flights_create            TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_fetch             TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_list              TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_update            TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_delete            TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_by_route          TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_by_tailnum        TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_totals            TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_delays_by_carrier TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_daily_refresh     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE flights_daily_of          TO beds_runtime;
GRANT SELECT ON airports_busy TO beds_runtime;
