-- The objects that BEDS itself needs in a MariaDB database. A DBA applies this file first, reads it, and owns it from then on.
--
--   beds_inbox          one row for each write that took effect: its key, a digest of the request, and the answer.
--   beds_inbox_begin    opens the transaction of a write and claims its key.
--   beds_inbox_commit   stores the answer beside the claim and commits both with the write.
--   beds_inbox_abort    rolls the write and its claim back.
--   beds_job_progress   a table, and the procedure by which the object of a job says in it how far it is: CALL beds_job_progress(
--                       p_event_id, done, total, text). A job that reads is rolled back at its end, and its row with it; until then
--                       beds_job_progress_of reads it, uncommitted as it is.
--   beds_inbox_prune    removes old rows, as the event beds_inbox_hourly does each hour: a window longer than any client's retries.
--   beds_end            ends a call that a node has given up; beds_end_own, one that runs with the node's own rights.
--   beds_schema         the numbered files that were applied, with login and time; kept by `beds schema apply`.
--   beds_catalog        tells BEDS which objects exist and with which parameters, read from information_schema.
--   beds_granted        tells BEDS which of them its login may use, so that a missing GRANT is found before a request is.
--   beds_catalog_version   tells whether one of those has changed; asked once a second.
--   beds_signature      tells whether one routine is still the one that a node has bound. beds_inbox_begin asks it before
--                       a write and beds_inbox_commit behind it, beds_read_check behind a read: a routine that was replaced
--                       with its parameters in another order never gets values in the wrong places. It reads mysql.proc where the definer may
--                       (GRANT SELECT ON mysql.proc TO the DBA), and information_schema, which takes longer, where not.
--
-- The role beds_runtime is all that the run-time login of a node gets.

CREATE ROLE IF NOT EXISTS beds_runtime;

CREATE TABLE IF NOT EXISTS beds_inbox (
  inbox_key    CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  fingerprint  CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reply        LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  claimed_at   TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (inbox_key),
  KEY beds_inbox_age (claimed_at)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS beds_schema (
  file        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  digest      CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  applied_by  VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
  applied_at  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (file)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS beds_job_progress (
  event_id  VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  done      BIGINT NOT NULL,
  total     BIGINT NULL,
  text      VARCHAR(200) CHARACTER SET utf8mb4 NULL,
  PRIMARY KEY (event_id)
) ENGINE = InnoDB;

DELIMITER //

CREATE OR REPLACE PROCEDURE beds_job_progress(
  IN p_event_id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_done     BIGINT,
  IN p_total    BIGINT,
  IN p_text     VARCHAR(200) CHARACTER SET utf8mb4)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: the object of a job says how far it is'
BEGIN
  INSERT INTO beds_job_progress (event_id, done, total, text) VALUES (p_event_id, p_done, p_total, p_text)
      ON DUPLICATE KEY UPDATE done = p_done, total = p_total, text = p_text;
END //

CREATE OR REPLACE PROCEDURE beds_job_progress_of(IN p_event_id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: how far a job is that has not ended'
BEGIN
  SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
  SELECT done, total, text FROM beds_job_progress WHERE event_id = p_event_id;
END //

CREATE OR REPLACE PROCEDURE beds_schema_list()
  READS SQL DATA
  SQL SECURITY INVOKER
  COMMENT 'BEDS: the files that were applied'
BEGIN
  SELECT file, digest FROM beds_schema ORDER BY file;
END //

CREATE OR REPLACE PROCEDURE beds_schema_record(IN p_file VARCHAR(255) CHARACTER SET utf8mb4, IN p_digest CHAR(64) CHARACTER SET ascii)
  MODIFIES SQL DATA
  SQL SECURITY INVOKER
  COMMENT 'BEDS: notes that a file was applied'
BEGIN
  REPLACE INTO beds_schema (file, digest, applied_by) VALUES (p_file, p_digest, CURRENT_USER());
END //

CREATE OR REPLACE PROCEDURE beds_inbox_begin(
  IN p_key         CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_fingerprint CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_object      VARCHAR(64) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci,
  IN p_signature   CHAR(32) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: opens a write and claims its key'
main:
BEGIN
  DECLARE signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin;
  -- Another session holds the key and has not committed yet.
  DECLARE EXIT HANDLER FOR 1205
  BEGIN
    ROLLBACK;
    SELECT 'running' AS state, NULL AS fingerprint, NULL AS reply;
  END;
  -- The key was committed before: its answer is the answer.
  DECLARE EXIT HANDLER FOR 1062
  BEGIN
    SELECT 'done' AS state, i.fingerprint, i.reply FROM beds_inbox AS i WHERE i.inbox_key = p_key;
    ROLLBACK;
  END;
  -- The id that an earlier call inserted must not be seen by this one. A node that lost its power leaves its key and its locks no
  -- longer than this: no write of a live one is idle for half a minute.
  SET @@last_insert_id = 0, SESSION idle_write_transaction_timeout = 30;
  START TRANSACTION;
  SET STATEMENT innodb_lock_wait_timeout = 0 FOR
    INSERT INTO beds_inbox (inbox_key, fingerprint) VALUES (p_key, p_fingerprint);
  -- A caller that only asks for the key names no object.
  IF p_object IS NOT NULL THEN
    CALL beds_signature(p_object, signature);
    IF NOT signature <=> p_signature THEN
      ROLLBACK;
      SELECT 'replaced' AS state, NULL AS fingerprint, NULL AS reply;
      LEAVE main;
    END IF;
  END IF;
  SELECT 'claimed' AS state, NULL AS fingerprint, NULL AS reply;
END //

CREATE OR REPLACE PROCEDURE beds_signature(
  IN  p_object    VARCHAR(64) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci,
  OUT p_signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: changes with the parameters and the body of a routine, and whenever it is replaced'
BEGIN
  DECLARE EXIT HANDLER FOR 1142
    SELECT MD5(CONCAT_WS('\n', UNIX_TIMESTAMP(r.LAST_ALTERED), r.ROUTINE_DEFINITION,
                         (SELECT GROUP_CONCAT(p.PARAMETER_MODE, ' ', p.PARAMETER_NAME ORDER BY p.ORDINAL_POSITION)
                            FROM information_schema.PARAMETERS AS p
                           WHERE p.SPECIFIC_SCHEMA = DATABASE() AND p.SPECIFIC_NAME = p_object AND p.ORDINAL_POSITION > 0)))
      INTO p_signature
      FROM information_schema.ROUTINES AS r
     WHERE r.ROUTINE_SCHEMA = DATABASE() AND r.ROUTINE_NAME = p_object LIMIT 1;
  SELECT MD5(CONCAT_WS('\n', UNIX_TIMESTAMP(p.modified), p.param_list, p.body)) INTO p_signature
    FROM mysql.proc AS p WHERE p.db = DATABASE() AND p.name = p_object LIMIT 1;
END //

CREATE OR REPLACE PROCEDURE beds_read_check(IN p_object VARCHAR(64) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: whether what was just called is what was bound'
BEGIN
  DECLARE signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin;
  CALL beds_signature(p_object, signature);
  SELECT signature;
END //

CREATE OR REPLACE PROCEDURE beds_inbox_commit(
  IN p_key       CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_reply     LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_object    VARCHAR(64) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci,
  IN p_signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: stores the answer and commits the write'
BEGIN
  DECLARE signature CHAR(32) CHARACTER SET ascii COLLATE ascii_bin;
  CALL beds_signature(p_object, signature);
  IF NOT signature <=> p_signature THEN
    -- The values may have gone to parameters in another order. BEDS looks at the catalogue and begins anew.
    ROLLBACK;
    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1412, MESSAGE_TEXT = 'the object was replaced';
  END IF;
  -- Of a claim, and never the answer of a write that is done.
  UPDATE beds_inbox SET reply = p_reply WHERE inbox_key = p_key AND reply IS NULL;
  IF ROW_COUNT() <> 1 THEN
    -- The write's procedure swallowed an error, such as a deadlock, that had rolled back the transaction and the claim with
    -- it. Nothing that came after it may stay: BEDS begins anew.
    ROLLBACK;
    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'the transaction was rolled back before its end';
  END IF;
  COMMIT;
END //

CREATE OR REPLACE PROCEDURE beds_inbox_abort()
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: rolls a write back together with its claim, and says whether there was a transaction to roll back'
BEGIN
  DECLARE was_open INT DEFAULT @@in_transaction;
  ROLLBACK;
  SELECT was_open;
END //

-- The lock is that of one connection of a node. Of the same definer as the objects that nodes call: a thread that is inside a
-- routine counts as its definer's, and no other login may end it (error 1095).
CREATE OR REPLACE PROCEDURE beds_end(IN p_lock VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin, IN p_how VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: ends what a node has given up, and says whether it is still there'
BEGIN
  DECLARE holder BIGINT UNSIGNED DEFAULT NULL;
  DECLARE is_denied BOOLEAN DEFAULT FALSE;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  DECLARE CONTINUE HANDLER FOR 1095 SET is_denied = TRUE;
  IF p_lock LIKE 'beds:%' THEN
    SET holder = IS_USED_LOCK(p_lock);
  END IF;
  IF holder IS NOT NULL AND p_how = 'query' THEN
    KILL QUERY holder;
  ELSEIF holder IS NOT NULL AND p_how = 'connection' THEN
    KILL CONNECTION holder;
  END IF;
  SELECT holder IS NOT NULL AS is_held, is_denied;
END //

-- The same with the rights of the node: for views, and for routines that are SQL SECURITY INVOKER.
CREATE OR REPLACE PROCEDURE beds_end_own(IN p_lock VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin, IN p_how VARCHAR(10) CHARACTER SET ascii COLLATE ascii_bin)
  READS SQL DATA
  SQL SECURITY INVOKER
  COMMENT 'BEDS: ends what a node has given up and runs with its own rights'
BEGIN
  DECLARE holder BIGINT UNSIGNED DEFAULT NULL;
  DECLARE is_denied BOOLEAN DEFAULT FALSE;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  DECLARE CONTINUE HANDLER FOR 1095 SET is_denied = TRUE;
  IF p_lock LIKE 'beds:%' THEN
    SET holder = IS_USED_LOCK(p_lock);
  END IF;
  IF holder IS NOT NULL AND p_how = 'query' THEN
    KILL QUERY holder;
  ELSEIF holder IS NOT NULL AND p_how = 'connection' THEN
    KILL CONNECTION holder;
  END IF;
  SELECT holder IS NOT NULL AS is_held, is_denied;
END //

CREATE OR REPLACE PROCEDURE beds_inbox_prune(IN p_days INT, IN p_rows INT)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: removes at most p_rows keys older than p_days days'
BEGIN
  DECLARE pruned INT;
  -- Without locks on keys that are not there yet: new keys would meet them, and be taken for keys in use.
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
  START TRANSACTION;
  DELETE FROM beds_inbox WHERE claimed_at < NOW(3) - INTERVAL GREATEST(p_days, 1) DAY LIMIT p_rows;
  SET pruned = ROW_COUNT();
  COMMIT;
  SELECT pruned;
END //

-- Needs event_scheduler = ON, of which `beds check` warns. With another number of days, set inbox.keep_days of the nodes too.
CREATE EVENT IF NOT EXISTS beds_inbox_hourly
  ON SCHEDULE EVERY 1 HOUR
  COMMENT 'BEDS: forgets keys and answers older than seven days'
  DO CALL beds_inbox_prune(7, 100000) //

CREATE OR REPLACE PROCEDURE beds_catalog()
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: the objects of this database and their parameters'
BEGIN
  DECLARE prune_event VARCHAR(30) CHARACTER SET utf8mb4;
  BEGIN
    -- The table of events can be broken while all others are whole.
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET prune_event = 'unreadable';
    SELECT MAX(e.STATUS) INTO prune_event FROM information_schema.EVENTS AS e
     WHERE e.EVENT_SCHEMA = DATABASE() AND e.EVENT_NAME = 'beds_inbox_hourly';
  END;
  -- First the signatures: a routine that is replaced from here on has another one.
  BEGIN
    DECLARE EXIT HANDLER FOR 1142
      SELECT r.ROUTINE_NAME AS name,
             MD5(CONCAT_WS('\n', UNIX_TIMESTAMP(r.LAST_ALTERED), r.ROUTINE_DEFINITION,
                           (SELECT GROUP_CONCAT(p.PARAMETER_MODE, ' ', p.PARAMETER_NAME ORDER BY p.ORDINAL_POSITION)
                              FROM information_schema.PARAMETERS AS p
                             WHERE p.SPECIFIC_SCHEMA = DATABASE() AND p.SPECIFIC_NAME = r.ROUTINE_NAME
                               AND p.ORDINAL_POSITION > 0))) AS signature
        FROM information_schema.ROUTINES AS r
       WHERE r.ROUTINE_SCHEMA = DATABASE();
    SELECT p.name, MD5(CONCAT_WS('\n', UNIX_TIMESTAMP(p.modified), p.param_list, p.body)) AS signature
      FROM mysql.proc AS p WHERE p.db = DATABASE();
  END;

  SELECT r.ROUTINE_NAME AS name, r.ROUTINE_TYPE AS kind, r.ROUTINE_DEFINITION AS definition, r.SQL_MODE AS sql_mode,
         r.SQL_DATA_ACCESS AS data_access, r.SECURITY_TYPE AS security, r.DEFINER AS definer,
         r.DTD_IDENTIFIER AS returns, r.COLLATION_NAME AS collation
    FROM information_schema.ROUTINES AS r
   WHERE r.ROUTINE_SCHEMA = DATABASE();

  SELECT p.SPECIFIC_NAME AS routine, p.ORDINAL_POSITION AS position, p.PARAMETER_MODE AS mode,
         p.PARAMETER_NAME AS name, p.DATA_TYPE AS type, p.DTD_IDENTIFIER AS declared,
         p.CHARACTER_MAXIMUM_LENGTH AS max_length, p.CHARACTER_SET_NAME AS charset, p.COLLATION_NAME AS collation
    FROM information_schema.PARAMETERS AS p
   WHERE p.SPECIFIC_SCHEMA = DATABASE() AND p.ORDINAL_POSITION > 0
   ORDER BY p.SPECIFIC_NAME, p.ORDINAL_POSITION;

  SELECT v.TABLE_NAME AS name, v.VIEW_DEFINITION AS definition, v.SECURITY_TYPE AS security, v.DEFINER AS definer
    FROM information_schema.VIEWS AS v WHERE v.TABLE_SCHEMA = DATABASE();

  -- MariaDB stores JSON as LONGTEXT with a json_valid check; only the check tells the two apart.
  SELECT k.TABLE_NAME AS table_name, k.COLUMN_NAME AS column_name, t.TABLE_TYPE = 'VIEW' AS is_view,
         c.CHECK_CLAUSE IS NOT NULL AS is_json
    FROM information_schema.COLUMNS AS k
    JOIN information_schema.TABLES AS t ON t.TABLE_SCHEMA = k.TABLE_SCHEMA AND t.TABLE_NAME = k.TABLE_NAME
    LEFT JOIN information_schema.CHECK_CONSTRAINTS AS c
      ON c.CONSTRAINT_SCHEMA = k.TABLE_SCHEMA AND c.TABLE_NAME = k.TABLE_NAME
     AND c.CHECK_CLAUSE = CONCAT('json_valid(`', k.COLUMN_NAME, '`)')
   WHERE k.TABLE_SCHEMA = DATABASE();

  SELECT t.TABLE_NAME AS name, t.ENGINE AS engine,
         EXISTS (SELECT 1 FROM information_schema.COLUMNS AS k
                  WHERE k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME
                    AND k.COLUMN_DEFAULT LIKE '%nextval(%') AS has_sequence
    FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE <> 'VIEW';

  SELECT t.TRIGGER_NAME AS name, t.EVENT_OBJECT_TABLE AS table_name, t.ACTION_STATEMENT AS definition, t.SQL_MODE AS sql_mode
    FROM information_schema.TRIGGERS AS t WHERE t.TRIGGER_SCHEMA = DATABASE();

  -- The facts that `beds check` tells about the server and the inbox.
  SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS utc, @@global.time_zone AS time_zone,
         @@system_time_zone AS system_time_zone, CURRENT_USER() AS definer,
         (SELECT TIMESTAMPDIFF(HOUR, MIN(i.claimed_at), CURRENT_TIMESTAMP()) FROM beds_inbox AS i) AS oldest_key_hours,
         @@global.event_scheduler AS event_scheduler,
         prune_event;
END //

CREATE OR REPLACE PROCEDURE beds_catalog_version()
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'BEDS: changes whenever a routine, trigger or view of this database does'
BEGIN
  SELECT CONCAT_WS('/',
    (SELECT CONCAT_WS(':', COUNT(*), BIT_XOR(CRC32(CONCAT_WS('\n', r.ROUTINE_TYPE, r.ROUTINE_NAME, r.LAST_ALTERED, r.SQL_MODE,
                                                             r.SQL_DATA_ACCESS, r.SECURITY_TYPE, r.ROUTINE_DEFINITION))))
       FROM information_schema.ROUTINES AS r WHERE r.ROUTINE_SCHEMA = DATABASE()),
    (SELECT CONCAT_WS(':', COUNT(*), BIT_XOR(CRC32(CONCAT_WS('\n', t.TRIGGER_NAME, t.EVENT_OBJECT_TABLE, t.CREATED, t.SQL_MODE,
                                                             t.ACTION_STATEMENT))))
       FROM information_schema.TRIGGERS AS t WHERE t.TRIGGER_SCHEMA = DATABASE()),
    (SELECT CONCAT_WS(':', COUNT(*), BIT_XOR(CRC32(CONCAT_WS('\n', v.TABLE_NAME, v.VIEW_DEFINITION))))
       FROM information_schema.VIEWS AS v WHERE v.TABLE_SCHEMA = DATABASE())) AS version,
    -- A change within the second of the one before has the same time: until then, look again.
    (SELECT COALESCE(MAX(r.LAST_ALTERED) < CURRENT_TIMESTAMP() - INTERVAL 1 SECOND, TRUE)
       FROM information_schema.ROUTINES AS r WHERE r.ROUTINE_SCHEMA = DATABASE()) AS is_settled,
    DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS utc;
END //

CREATE OR REPLACE PROCEDURE beds_granted()
  READS SQL DATA
  SQL SECURITY INVOKER
  COMMENT 'BEDS: the objects that the caller may use'
BEGIN
  SELECT r.ROUTINE_NAME AS name FROM information_schema.ROUTINES AS r WHERE r.ROUTINE_SCHEMA = DATABASE()
   UNION
  SELECT t.TABLE_NAME FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'VIEW';
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE beds_inbox_begin  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_inbox_commit TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_inbox_abort  TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_catalog      TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_granted      TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_read_check   TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_end          TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_end_own      TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_catalog_version TO beds_runtime;
GRANT EXECUTE ON PROCEDURE beds_job_progress_of TO beds_runtime;
