-- Jobs for the tests: rows without end, work that takes long, and work that does not want to end.

CREATE TABLE works_done (ticket VARCHAR(80) NOT NULL, at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)) ENGINE = InnoDB;

CREATE TABLE works_marched (number INT NOT NULL, attempt VARCHAR(255) NOT NULL) ENGINE = InnoDB;

DELIMITER //

CREATE PROCEDURE works_numbers(IN p_count INT, IN p_width INT)
  READS SQL DATA
BEGIN
  SELECT seq AS id, REPEAT('x', p_width) AS filler FROM seq_1_to_1000000 WHERE seq <= p_count;
END //

CREATE PROCEDURE works_wait(IN p_tenths INT)
  READS SQL DATA
BEGIN
  DECLARE n INT DEFAULT 0;
  WHILE n < p_tenths DO
    DO SLEEP(0.1);
    SET n = n + 1;
  END WHILE;
  SELECT n AS id;
END //

CREATE PROCEDURE works_stubborn(IN p_tenths INT)
  READS SQL DATA
BEGIN
  DECLARE n INT DEFAULT 0;
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET n = n;
  WHILE n < p_tenths DO
    DO SLEEP(0.1);
    SET n = n + 1;
  END WHILE;
  SELECT n AS id;
END //

CREATE PROCEDURE works_fail(IN p_kind VARCHAR(20) CHARACTER SET utf8mb4)
  READS SQL DATA
BEGIN
  IF p_kind = 'rule' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not on a Monday';
  END IF;
  SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found when trying to get lock';
END //

CREATE PROCEDURE works_writes(IN p_ticket VARCHAR(80) CHARACTER SET utf8mb4)
BEGIN
  INSERT INTO works_done (ticket) VALUES (p_ticket);
  SELECT 1 AS id;
END //

-- Two of these at once are one too many, and say so.
CREATE PROCEDURE works_alone(IN p_tenths INT)
  READS SQL DATA
BEGIN
  IF NOT GET_LOCK(CONCAT('alone:', DATABASE()), 0) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'two at once';
  END IF;
  DO SLEEP(p_tenths / 10);
  SELECT p_tenths AS id;
END //

CREATE PROCEDURE works_lines()
  READS SQL DATA
BEGIN
  SELECT seq AS id, '{\n"a": "x"\r\n}\n' AS doc FROM seq_1_to_3;
END //

-- Says how far it is while it works.
CREATE PROCEDURE works_telling(IN p_event_id VARCHAR(255) CHARACTER SET ascii, IN p_tenths INT)
  MODIFIES SQL DATA
BEGIN
  DECLARE n INT DEFAULT 0;
  WHILE n < p_tenths DO
    DO SLEEP(0.1);
    SET n = n + 1;
    CALL beds_job_progress(p_event_id, n, p_tenths, 'waiting');
  END WHILE;
  SELECT n AS id;
END //

CREATE PROCEDURE works_who()
  READS SQL DATA
BEGIN
  SELECT 1 AS id, SUBSTRING_INDEX(USER(), '@', 1) AS login;
END //

CREATE PROCEDURE works_how_many(IN p_count INT)
  READS SQL DATA
BEGIN
  SELECT p_count AS total;
END //

-- A step writes one row for each number up to p_count. `works_marched` would tell of a step that took effect twice.
CREATE PROCEDURE works_march(IN p_event_id VARCHAR(255) CHARACTER SET ascii, IN p_after INT, IN p_limit INT, IN p_count INT, IN p_millis INT)
  MODIFIES SQL DATA
BEGIN
  DECLARE first_one INT DEFAULT COALESCE(p_after, 0) + 1;
  DECLARE last_one INT DEFAULT LEAST(first_one + p_limit - 1, p_count);
  INSERT INTO works_marched (number, attempt) SELECT seq, p_event_id FROM seq_1_to_100000 WHERE seq BETWEEN first_one AND last_one;
  DO SLEEP(p_millis / 1000);
  SELECT IF(last_one < p_count, last_one, NULL) AS next, last_one - first_one + 1 AS done, p_count AS total;
END //

CREATE PROCEDURE works_circle(IN p_after INT, IN p_limit INT, IN p_kind VARCHAR(20) CHARACTER SET utf8mb4)
  MODIFIES SQL DATA
BEGIN
  IF p_kind = 'mute' THEN
    SELECT 1 AS done;
  ELSEIF p_kind = 'two' THEN
    SELECT NULL AS next, 1 AS done UNION ALL SELECT NULL, 1;
  ELSE
    SELECT 7 AS next, 1 AS done;
  END IF;
END //

CREATE VIEW works_view AS SELECT seq AS id FROM seq_1_to_700 //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE works_numbers  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_wait     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_stubborn TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_fail     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_writes   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_alone    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_lines    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_telling  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_who      TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_how_many TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_march    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_circle   TO beds_runtime;
GRANT SELECT ON works_view TO beds_runtime;
