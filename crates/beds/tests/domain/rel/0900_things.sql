-- A domain for the tests: one table with every type, and procedures that do what DBAs do.

CREATE TABLE things (
  id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name    VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL UNIQUE,
  count   INT NULL,
  big     BIGINT NULL,
  amount  DECIMAL(30,10) NULL,
  ratio   DOUBLE NULL,
  flag    BOOL NULL,
  note    TEXT CHARACTER SET utf8mb4 NULL,
  uid     UUID NULL,
  raw     BLOB NULL,
  doc     JSON NULL,
  day     DATE NULL,
  at      DATETIME(6) NULL,
  parent  BIGINT UNSIGNED NULL,
  CONSTRAINT things_parent FOREIGN KEY (parent) REFERENCES things (id),
  CONSTRAINT things_count CHECK (count IS NULL OR count > -1000)
) ENGINE = InnoDB;

CREATE TABLE counters (name VARCHAR(40) NOT NULL PRIMARY KEY, value BIGINT NOT NULL) ENGINE = InnoDB;
INSERT INTO counters VALUES ('c', 0);

CREATE TABLE pairs (id INT NOT NULL PRIMARY KEY, n INT NOT NULL) ENGINE = InnoDB;
INSERT INTO pairs VALUES (1, 0), (2, 0);

CREATE TABLE attempts (name VARCHAR(40) NOT NULL PRIMARY KEY) ENGINE = MyISAM;

DELIMITER //

CREATE PROCEDURE things_create(
  IN p_name VARCHAR(40) CHARACTER SET utf8mb4, IN p_count INT, IN p_big BIGINT, IN p_amount DECIMAL(30,10), IN p_ratio DOUBLE,
  IN p_flag BOOL, IN p_note TEXT CHARACTER SET utf8mb4, IN p_uid UUID, IN p_raw BLOB, IN p_doc JSON, IN p_day DATE,
  IN p_at DATETIME(6), IN p_parent BIGINT UNSIGNED)
BEGIN
  IF p_name = 'forbidden' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this name is not allowed';
  END IF;
  IF p_name LIKE 'deadlock%' THEN
    -- The table keeps its rows when the transaction is rolled back, so only the first attempt fails.
    IF NOT EXISTS (SELECT 1 FROM attempts WHERE name = p_name) THEN
      INSERT INTO attempts VALUES (p_name);
      SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found when trying to get lock';
    END IF;
  END IF;
  IF p_name LIKE 'slow%' THEN
    DO SLEEP(1.5);
  END IF;
  INSERT INTO things (name, count, big, amount, ratio, flag, note, uid, raw, doc, day, at, parent)
    VALUES (p_name, p_count, p_big, p_amount, p_ratio, p_flag, p_note, p_uid, p_raw, p_doc, p_day, p_at, p_parent);
  SELECT * FROM things WHERE id = LAST_INSERT_ID();
END //

CREATE PROCEDURE things_fetch(IN p_id BIGINT UNSIGNED)
BEGIN
  SELECT * FROM things WHERE id = p_id;
END //

CREATE PROCEDURE things_list(IN p_limit INT, IN p_after BIGINT UNSIGNED)
BEGIN
  SELECT * FROM things WHERE id > COALESCE(p_after, 0) ORDER BY id LIMIT p_limit;
END //

CREATE PROCEDURE things_by_name(IN p_name VARCHAR(40) CHARACTER SET utf8mb4)
BEGIN
  SELECT * FROM things WHERE name = p_name;
END //

CREATE PROCEDURE things_update(IN p_id BIGINT UNSIGNED, IN p_name VARCHAR(40) CHARACTER SET utf8mb4, IN p_count INT, IN p_amount DECIMAL(30,10),
  IN p_note TEXT CHARACTER SET utf8mb4, IN p_flag BOOL, IN p_document JSON)
BEGIN
  UPDATE things SET
    name   = IF(JSON_EXISTS(p_document, '$.name'), p_name, name),
    count  = IF(JSON_EXISTS(p_document, '$.count'), p_count, count),
    amount = IF(JSON_EXISTS(p_document, '$.amount'), p_amount, amount),
    note   = IF(JSON_EXISTS(p_document, '$.note'), p_note, note),
    flag   = IF(JSON_EXISTS(p_document, '$.flag'), p_flag, flag)
  WHERE id = p_id;
  SELECT * FROM things WHERE id = p_id;
END //

CREATE PROCEDURE things_delete(IN p_id BIGINT UNSIGNED)
BEGIN
  CREATE TEMPORARY TABLE gone AS SELECT * FROM things WHERE id = p_id;
  DELETE FROM things WHERE id = p_id;
  SELECT * FROM gone;
  DROP TEMPORARY TABLE gone;
END //

CREATE PROCEDURE things_sleep(IN p_seconds DOUBLE)
BEGIN
  DO SLEEP(p_seconds);
  SELECT 'awake' AS state;
END //

CREATE PROCEDURE things_sets()
BEGIN
  SELECT 1 AS a UNION SELECT 2;
  SELECT 'x' AS b WHERE FALSE;
  SELECT 'y' AS c, 2.50 AS d;
END //

CREATE PROCEDURE things_out(IN p_factor INT, OUT p_double BIGINT, INOUT p_text VARCHAR(40), OUT p_exact DECIMAL(20,4))
BEGIN
  SET p_double = p_factor * 2, p_text = CONCAT('<', p_text, '>'), p_exact = 1.5;
  SELECT p_factor AS factor;
END //

CREATE PROCEDURE things_only_out(OUT p_n INT)
BEGIN
  SET p_n = 7;
END //

CREATE PROCEDURE things_branch(IN p_which INT)
BEGIN
  IF p_which = 1 THEN
    SELECT 'one' AS word;
  ELSE
    SELECT 2 AS number, 'two' AS word;
  END IF;
END //

CREATE PROCEDURE things_nested(IN p_which INT)
BEGIN
  CALL things_branch(p_which);
  SELECT 'outer' AS level;
END //

CREATE PROCEDURE things_cursor()
BEGIN
  DECLARE done INT DEFAULT FALSE;
  DECLARE v VARCHAR(40);
  DECLARE total VARCHAR(400) DEFAULT '';
  DECLARE c CURSOR FOR SELECT name FROM things ORDER BY id;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = TRUE;
  OPEN c;
  read_loop: LOOP
    FETCH c INTO v;
    IF done THEN LEAVE read_loop; END IF;
    SET total = CONCAT(total, v, ';');
  END LOOP;
  CLOSE c;
  SELECT total;
END //

CREATE FUNCTION things_twice(p_n INT) RETURNS BIGINT DETERMINISTIC
BEGIN
  RETURN p_n * 2;
END //

CREATE PROCEDURE things_broken()
BEGIN
  SELECT * FROM no_such_table;
END //

CREATE PROCEDURE things_commits(IN p_name VARCHAR(40))
BEGIN
  INSERT INTO things (name) VALUES (p_name);
  COMMIT;
  SELECT 1;
END //

CREATE PROCEDURE counters_bump(IN p_id VARCHAR(40), IN p_by BIGINT)
BEGIN
  UPDATE counters SET value = value + COALESCE(p_by, 1) WHERE name = p_id;
  SELECT * FROM counters WHERE name = p_id;
END //

-- Two of these in opposite order are a deadlock, which the handler keeps to itself.
CREATE PROCEDURE pairs_bump(IN p_first INT, IN p_second INT)
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION SELECT 'all is well' AS state;
  UPDATE pairs SET n = n + 1 WHERE id = p_first;
  DO SLEEP(0.5);
  UPDATE pairs SET n = n + 1 WHERE id = p_second;
  SELECT 'done' AS state;
END //

CREATE PROCEDURE pairs_list()
BEGIN
  SELECT * FROM pairs ORDER BY id;
END //

-- Touches none, one or several rows, and says so twice.
CREATE PROCEDURE pairs_set(IN p_id INT, IN p_n INT, OUT p_changed INT)
BEGIN
  UPDATE pairs SET n = p_n WHERE id >= p_id;
  SET p_changed = ROW_COUNT();
  SELECT * FROM pairs WHERE id >= p_id ORDER BY id;
END //

CREATE PROCEDURE counters_fetch(IN p_id VARCHAR(40))
BEGIN
  SELECT * FROM counters WHERE name = p_id;
END //

CREATE VIEW things_view AS SELECT id, name FROM things //

DELIMITER ;
