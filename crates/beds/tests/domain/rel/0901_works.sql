-- Jobs for the tests: rows without end, work that takes long, and work that does not want to end.

CREATE TABLE works_done (ticket VARCHAR(80) NOT NULL, at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)) ENGINE = InnoDB;

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

CREATE VIEW works_view AS SELECT seq AS id FROM seq_1_to_700 //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE works_numbers  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_wait     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_stubborn TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_fail     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_writes   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_alone    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE works_lines    TO beds_runtime;
GRANT SELECT ON works_view TO beds_runtime;
