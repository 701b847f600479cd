-- The objects by which BEDS tells changes: apply this file where a template of the database has `[changes]`. Without such a template
-- BEDS calls none of them. A DBA reads the file, and owns it from then on.
--
--   beds_changes               one row for each change that is committed and not published yet.
--   beds_inbox_commit_changes  does the work of beds_inbox_commit, and notes the changes in the same transaction.
--   beds_changes_take          answers the oldest of them, for the one node that publishes.
--   beds_changes_done          removes those that RabbitMQ has.
--   beds_announce              tells a change that no node has made: a DBA's own objects call it in their transaction.
--
-- The place of a row in the order is given behind the lock on its record, so it rises with the commits of one record. Rows of others can
-- be committed late: BEDS takes those that are there, and keeps no "last one" that a late row could fall behind.

CREATE TABLE IF NOT EXISTS beds_changes (
  seq   BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  body  LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (seq)
) ENGINE = InnoDB;

DELIMITER //

-- The body is that of beds_inbox_commit with two more rows: a node of a template without changes calls that one, which stays as it is.
CREATE OR REPLACE PROCEDURE beds_inbox_commit_changes(
  IN p_key       CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_reply     LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_object    VARCHAR(64) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci,
  IN p_signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_change    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_further   LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: stores the answer and the changes, and commits the write'
BEGIN
  DECLARE signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin;
  CALL beds_signature(p_object, signature);
  IF NOT signature <=> p_signature THEN
    ROLLBACK;
    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1412, MESSAGE_TEXT = 'the object was replaced';
  END IF;
  UPDATE beds_inbox SET reply = p_reply WHERE inbox_key = p_key AND reply IS NULL;
  IF ROW_COUNT() <> 1 THEN
    ROLLBACK;
    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'the transaction was rolled back before its end';
  END IF;
  -- Behind the look at the claim: without a transaction a row would stay for a write that did not.
  INSERT INTO beds_changes (body) VALUES (p_change);
  IF p_further IS NOT NULL THEN
    INSERT INTO beds_changes (body) VALUES (p_further);
  END IF;
  COMMIT;
END //

CREATE OR REPLACE PROCEDURE beds_changes_take(IN p_most INT)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: the oldest changes that are not published'
BEGIN
  SELECT seq, body FROM beds_changes ORDER BY seq LIMIT p_most;
END //

CREATE OR REPLACE PROCEDURE beds_changes_done(IN p_seqs LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: removes changes that are published, given as a JSON array of their places'
BEGIN
  -- By their keys and no range: a row that is committed late keeps its place, and no writer waits for this.
  DELETE c FROM JSON_TABLE(p_seqs, '$[*]' COLUMNS (seq BIGINT UNSIGNED PATH '$')) AS j
    STRAIGHT_JOIN beds_changes AS c FORCE INDEX (PRIMARY) ON c.seq = j.seq;
END //

-- p_fields is a JSON array of names, p_scope a JSON object of texts by fields: without it, a template that has a scope tells the change
-- to no caller. p_record is NULL where several records changed.
CREATE OR REPLACE PROCEDURE beds_announce(
  IN p_template  VARCHAR(64) CHARACTER SET utf8mb4,
  IN p_record    VARCHAR(255) CHARACTER SET utf8mb4,
  IN p_operation VARCHAR(10) CHARACTER SET ascii,
  IN p_fields    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_scope     LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: tells a change that was made without a node'
BEGIN
  DECLARE event_id VARCHAR(64) CHARACTER SET ascii DEFAULT CONCAT('dba.', UUID());
  IF p_operation NOT IN ('create', 'update', 'delete', 'enter', 'leave', 'many') THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'p_operation is create, update, delete, enter, leave or many';
  END IF;
  IF NOT COALESCE(JSON_TYPE(COALESCE(p_fields, '[]')) = 'ARRAY' AND JSON_TYPE(COALESCE(p_scope, '{}')) = 'OBJECT', FALSE) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'p_fields is a JSON array and p_scope a JSON object';
  END IF;
  INSERT INTO beds_changes (body) VALUES (JSON_OBJECT(
    'v', 1, 'id', CONCAT(event_id, ':1'), 'template', p_template, 'operation', p_operation, 'record', p_record,
    'fields', JSON_EXTRACT(COALESCE(p_fields, '[]'), '$'), 'scope', JSON_EXTRACT(COALESCE(p_scope, '{}'), '$'),
    'at', CONCAT(DATE_FORMAT(UTC_TIMESTAMP(3), '%Y-%m-%dT%H:%i:%s.%f'), 'Z'), 'event_id', event_id, 'root_id', event_id));
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE beds_inbox_commit_changes TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_changes_take         TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_changes_done         TO beds_runtime;
