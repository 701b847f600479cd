-- Planes: `tailnum`, the registration on the tail, identifies a record.
--
--   planes              the table.
--   planes_create, _fetch, _list, _update, _delete
--
-- year (of manufacture) and speed (cruising, miles an hour) are unknown for some planes in the source: NULL.

CREATE TABLE IF NOT EXISTS planes (
  tailnum       VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  year          SMALLINT UNSIGNED NULL,
  type          VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  manufacturer  VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  model         VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  engines       TINYINT UNSIGNED NOT NULL,
  seats         SMALLINT UNSIGNED NOT NULL,
  speed         SMALLINT UNSIGNED NULL,
  engine        VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  PRIMARY KEY (tailnum),
  CONSTRAINT planes_tailnum CHECK (tailnum <> ''),
  CONSTRAINT planes_year    CHECK (year BETWEEN 1903 AND 2100),
  CONSTRAINT planes_engines CHECK (engines BETWEEN 1 AND 12)
) ENGINE = InnoDB COMMENT = 'Planes by tail number';

DELIMITER //

CREATE OR REPLACE PROCEDURE planes_create(
  IN p_tailnum      VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_year         SMALLINT UNSIGNED,
  IN p_type         VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_manufacturer VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_model        VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_engines      TINYINT UNSIGNED,
  IN p_seats        SMALLINT UNSIGNED,
  IN p_speed        SMALLINT UNSIGNED,
  IN p_engine       VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Planes: adds a plane'
BEGIN
  INSERT INTO planes
        (tailnum, year, type, manufacturer, model, engines, seats, speed, engine)
  VALUES (p_tailnum, p_year, p_type, p_manufacturer, p_model, p_engines, p_seats, p_speed, p_engine);
  SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM planes WHERE tailnum = p_tailnum;
END //

CREATE OR REPLACE PROCEDURE planes_fetch(
  IN p_id VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Planes: a plane'
BEGIN
  SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM planes WHERE tailnum = p_id;
END //

CREATE OR REPLACE PROCEDURE planes_list(
  IN p_limit INT UNSIGNED,
  IN p_after VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Planes: all, in order of their ids'
BEGIN
  SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM planes WHERE tailnum > COALESCE(p_after, '') ORDER BY tailnum LIMIT p_limit;
END //

CREATE OR REPLACE PROCEDURE planes_update(
  IN p_id           VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_year         SMALLINT UNSIGNED,
  IN p_type         VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_manufacturer VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_model        VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_engines      TINYINT UNSIGNED,
  IN p_seats        SMALLINT UNSIGNED,
  IN p_speed        SMALLINT UNSIGNED,
  IN p_engine       VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_document     JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Planes: changes the fields given'
BEGIN
  UPDATE planes
     SET year         = IF(JSON_EXISTS(p_document, '$.year'), p_year, year),
         type         = IF(JSON_EXISTS(p_document, '$.type'), p_type, type),
         manufacturer = IF(JSON_EXISTS(p_document, '$.manufacturer'), p_manufacturer, manufacturer),
         model        = IF(JSON_EXISTS(p_document, '$.model'), p_model, model),
         engines      = IF(JSON_EXISTS(p_document, '$.engines'), p_engines, engines),
         seats        = IF(JSON_EXISTS(p_document, '$.seats'), p_seats, seats),
         speed        = IF(JSON_EXISTS(p_document, '$.speed'), p_speed, speed),
         engine       = IF(JSON_EXISTS(p_document, '$.engine'), p_engine, engine)
   WHERE tailnum = p_id;
  SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM planes WHERE tailnum = p_id;
END //

CREATE OR REPLACE PROCEDURE planes_delete(
  IN p_id VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Planes: removes a plane'
BEGIN
  SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM planes WHERE tailnum = p_id FOR UPDATE;
  DELETE FROM planes WHERE tailnum = p_id;
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE planes_create TO beds_runtime;
GRANT EXECUTE ON PROCEDURE planes_fetch  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE planes_list   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE planes_update TO beds_runtime;
GRANT EXECUTE ON PROCEDURE planes_delete TO beds_runtime;
