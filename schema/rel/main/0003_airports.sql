-- Airports: `faa`, the three-letter code, identifies a record.
--
--   airports            the table.
--   airports_create, _fetch, _list, _update, _delete
--   airports_busy       a view as a named read; it stands in 0005_flights.sql, with the table that it counts.
--
-- lat and lon are DOUBLE: positions are measured, not counted, and the source has up to 15 decimals, which a DOUBLE
-- gives back unchanged. DECIMAL(10,7) would round them, and callers would have to send text instead of JSON numbers.
-- (Money is the opposite case: see `balance` in schema/rec/main/0002_users.json.)
-- alt is in feet, tz in hours from UTC, dst the rule for daylight saving (OpenFlights codes), tzone the IANA zone.

CREATE TABLE IF NOT EXISTS airports (
  faa    CHAR(3) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name   VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  lat    DOUBLE NOT NULL,
  lon    DOUBLE NOT NULL,
  alt    SMALLINT NOT NULL,
  tz     TINYINT NOT NULL,
  dst    CHAR(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  tzone  VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NULL,
  PRIMARY KEY (faa),
  CONSTRAINT airports_faa CHECK (faa REGEXP '^[0-9A-Z]{3}$'),
  CONSTRAINT airports_lat CHECK (lat BETWEEN -90 AND 90),
  CONSTRAINT airports_lon CHECK (lon BETWEEN -180 AND 180),
  CONSTRAINT airports_tz  CHECK (tz BETWEEN -12 AND 14),
  CONSTRAINT airports_dst CHECK (dst IN ('E', 'A', 'S', 'O', 'Z', 'N', 'U'))
) ENGINE = InnoDB COMMENT = 'Airports by FAA code';

DELIMITER //

CREATE OR REPLACE PROCEDURE airports_create(
  IN p_faa   CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_name  VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_lat   DOUBLE,
  IN p_lon   DOUBLE,
  IN p_alt   SMALLINT,
  IN p_tz    TINYINT,
  IN p_dst   CHAR(1) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_tzone VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airports: adds an airport'
BEGIN
  INSERT INTO airports
        (faa, name, lat, lon, alt, tz, dst, tzone)
  VALUES (p_faa, p_name, p_lat, p_lon, p_alt, p_tz, p_dst, p_tzone);
  SELECT faa, name, lat, lon, alt, tz, dst, tzone
    FROM airports WHERE faa = p_faa;
END //

CREATE OR REPLACE PROCEDURE airports_fetch(
  IN p_id CHAR(3) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airports: an airport'
BEGIN
  SELECT faa, name, lat, lon, alt, tz, dst, tzone
    FROM airports WHERE faa = p_id;
END //

CREATE OR REPLACE PROCEDURE airports_list(
  IN p_limit INT UNSIGNED,
  IN p_after CHAR(3) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airports: all, in order of their ids'
BEGIN
  SELECT faa, name, lat, lon, alt, tz, dst, tzone
    FROM airports WHERE faa > COALESCE(p_after, '') ORDER BY faa LIMIT p_limit;
END //

CREATE OR REPLACE PROCEDURE airports_update(
  IN p_id       CHAR(3) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_name     VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_lat      DOUBLE,
  IN p_lon      DOUBLE,
  IN p_alt      SMALLINT,
  IN p_tz       TINYINT,
  IN p_dst      CHAR(1) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_tzone    VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_document JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airports: changes the fields given'
BEGIN
  UPDATE airports
     SET name  = IF(JSON_EXISTS(p_document, '$.name'), p_name, name),
         lat   = IF(JSON_EXISTS(p_document, '$.lat'), p_lat, lat),
         lon   = IF(JSON_EXISTS(p_document, '$.lon'), p_lon, lon),
         alt   = IF(JSON_EXISTS(p_document, '$.alt'), p_alt, alt),
         tz    = IF(JSON_EXISTS(p_document, '$.tz'), p_tz, tz),
         dst   = IF(JSON_EXISTS(p_document, '$.dst'), p_dst, dst),
         tzone = IF(JSON_EXISTS(p_document, '$.tzone'), p_tzone, tzone)
   WHERE faa = p_id;
  SELECT faa, name, lat, lon, alt, tz, dst, tzone
    FROM airports WHERE faa = p_id;
END //

CREATE OR REPLACE PROCEDURE airports_delete(
  IN p_id CHAR(3) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airports: removes an airport without departures'
BEGIN
  SELECT faa, name, lat, lon, alt, tz, dst, tzone
    FROM airports WHERE faa = p_id FOR UPDATE;
  DELETE FROM airports WHERE faa = p_id;
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE airports_create TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airports_fetch  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airports_list   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airports_update TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airports_delete TO beds_runtime;
