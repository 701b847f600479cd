-- Airlines: the smallest domain, and the one to copy first.
--
--   airlines            the table; `carrier`, the two-letter IATA code, identifies a record.
--   airlines_create, _fetch, _list, _update, _delete
--   airlines_name       a function as a named read.
--
-- Codes are compared byte by byte (ascii_bin): `ua` is not `UA`, and each record has exactly one id.
-- A parameter has the type, character set and collation of its column; otherwise MariaDB converts the column in each
-- comparison and cannot use its index.

CREATE TABLE IF NOT EXISTS airlines (
  carrier  CHAR(2) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name     VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  PRIMARY KEY (carrier),
  CONSTRAINT airlines_carrier CHECK (carrier REGEXP '^[0-9A-Z]{2}$')
) ENGINE = InnoDB COMMENT = 'Airlines by IATA code';

DELIMITER //

CREATE OR REPLACE PROCEDURE airlines_create(
  IN p_carrier CHAR(2) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_name    VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: adds an airline'
BEGIN
  INSERT INTO airlines (carrier, name) VALUES (p_carrier, p_name);
  SELECT carrier, name FROM airlines WHERE carrier = p_carrier;
END //

CREATE OR REPLACE PROCEDURE airlines_fetch(
  IN p_id CHAR(2) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: one airline'
BEGIN
  SELECT carrier, name FROM airlines WHERE carrier = p_id;
END //

-- p_after is the id of the last record of the page before, NULL on the first page. It is smaller than every code
-- when it is empty, so one range over the primary key serves both cases.
CREATE OR REPLACE PROCEDURE airlines_list(
  IN p_limit INT UNSIGNED,
  IN p_after CHAR(2) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: all, by code'
BEGIN
  SELECT carrier, name FROM airlines WHERE carrier > COALESCE(p_after, '') ORDER BY carrier LIMIT p_limit;
END //

-- BEDS binds NULL for a field that was left out. p_document holds exactly the fields that were given, so it says
-- whether a NULL is meant; the typed parameter beside it holds the value. The id cannot be changed.
CREATE OR REPLACE PROCEDURE airlines_update(
  IN p_id       CHAR(2) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_name     VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_document JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: changes the fields given'
BEGIN
  UPDATE airlines
     SET name = IF(JSON_EXISTS(p_document, '$.name'), p_name, name)
   WHERE carrier = p_id;
  SELECT carrier, name FROM airlines WHERE carrier = p_id;
END //

-- The row is read, and locked, before it goes. No row read means 404.
CREATE OR REPLACE PROCEDURE airlines_delete(
  IN p_id CHAR(2) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: removes an airline without flights'
BEGIN
  SELECT carrier, name FROM airlines WHERE carrier = p_id FOR UPDATE;
  DELETE FROM airlines WHERE carrier = p_id;
END //

-- NULL when there is no such airline.
CREATE OR REPLACE FUNCTION airlines_name(
  p_id CHAR(2) CHARACTER SET ascii COLLATE ascii_bin)
  RETURNS VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Airlines: the name behind a code'
RETURN (SELECT name FROM airlines WHERE carrier = p_id) //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE airlines_create TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airlines_fetch  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airlines_list   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airlines_update TO beds_runtime;
GRANT EXECUTE ON PROCEDURE airlines_delete TO beds_runtime;
GRANT EXECUTE ON FUNCTION  airlines_name   TO beds_runtime;
