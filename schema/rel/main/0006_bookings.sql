-- Bookings: seats on flights. Rows of two kinds of callers: a tenant sees no row of another one, and of its own tenant a traveller
-- sees the bookings that it made, a clerk all of them.
--
--   bookings            the table; `booking_id` identifies a record.
--   bookings_create, _fetch, _list, _update, _delete
--   bookings_by_flight  a named read.
--
-- p_claim_tenant, p_actor and p_beds_roles are filled by BEDS from the proved caller; no request can send them, and without the
-- claim the caller gets 403. A row that is not the caller's is no row: 404.

CREATE TABLE IF NOT EXISTS bookings (
  booking_id  BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  tenant      VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  owner       VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  flight_id   BIGINT UNSIGNED NOT NULL,
  seat        VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  passenger   VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
  PRIMARY KEY (booking_id),
  -- A seat is taken once: a second booking is 409, also from another tenant.
  UNIQUE KEY bookings_seat (flight_id, seat),
  KEY bookings_tenant (tenant, booking_id),
  CONSTRAINT bookings_of_flight FOREIGN KEY (flight_id) REFERENCES flights (flight_id),
  CONSTRAINT bookings_seat_form CHECK (seat REGEXP '^[0-9]{1,2}[A-K]$')
) ENGINE = InnoDB COMMENT = 'Seats on flights, by tenant and owner';

DELIMITER //

CREATE OR REPLACE PROCEDURE bookings_create(
  IN p_flight_id    BIGINT UNSIGNED,
  IN p_seat         VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin,
  IN p_passenger    VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: books a seat for the caller'
BEGIN
  INSERT INTO bookings (tenant, owner, flight_id, seat, passenger)
    VALUES (p_claim_tenant, p_actor, p_flight_id, p_seat, p_passenger);
  SELECT booking_id, owner, flight_id, seat, passenger FROM bookings WHERE booking_id = LAST_INSERT_ID();
END //

CREATE OR REPLACE PROCEDURE bookings_fetch(
  IN p_id           BIGINT UNSIGNED,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_beds_roles   JSON)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: one booking of the caller'
BEGIN
  SELECT booking_id, owner, flight_id, seat, passenger
    FROM bookings
   WHERE booking_id = p_id AND tenant = p_claim_tenant
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'));
END //

CREATE OR REPLACE PROCEDURE bookings_list(
  IN p_limit        INT UNSIGNED,
  IN p_after        BIGINT UNSIGNED,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_beds_roles   JSON)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: those of the caller, in order of their ids'
BEGIN
  SELECT booking_id, owner, flight_id, seat, passenger
    FROM bookings
   WHERE tenant = p_claim_tenant AND booking_id > COALESCE(p_after, 0)
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'))
   ORDER BY booking_id LIMIT p_limit;
END //

CREATE OR REPLACE PROCEDURE bookings_update(
  IN p_id           BIGINT UNSIGNED,
  IN p_passenger    VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_beds_roles   JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: another passenger takes the seat'
BEGIN
  UPDATE bookings SET passenger = p_passenger
   WHERE booking_id = p_id AND tenant = p_claim_tenant
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'));
  SELECT booking_id, owner, flight_id, seat, passenger
    FROM bookings
   WHERE booking_id = p_id AND tenant = p_claim_tenant
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'));
END //

CREATE OR REPLACE PROCEDURE bookings_delete(
  IN p_id           BIGINT UNSIGNED,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_beds_roles   JSON)
  MODIFIES SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: gives the seat back'
BEGIN
  SELECT booking_id, owner, flight_id, seat, passenger
    FROM bookings
   WHERE booking_id = p_id AND tenant = p_claim_tenant
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'))
     FOR UPDATE;
  DELETE FROM bookings
   WHERE booking_id = p_id AND tenant = p_claim_tenant
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'));
END //

CREATE OR REPLACE PROCEDURE bookings_by_flight(
  IN p_flight_id    BIGINT UNSIGNED,
  IN p_limit        INT UNSIGNED,
  IN p_after        BIGINT UNSIGNED,
  IN p_claim_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_actor        VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_beds_roles   JSON)
  READS SQL DATA
  SQL SECURITY DEFINER
  COMMENT 'Bookings: of one flight'
BEGIN
  SELECT booking_id, owner, flight_id, seat, passenger
    FROM bookings
   WHERE flight_id = p_flight_id AND tenant = p_claim_tenant AND booking_id > COALESCE(p_after, 0)
     AND (owner = p_actor OR JSON_CONTAINS(p_beds_roles, '"clerk"'))
   ORDER BY booking_id LIMIT p_limit;
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE bookings_create    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE bookings_fetch     TO beds_runtime;
GRANT EXECUTE ON PROCEDURE bookings_list      TO beds_runtime;
GRANT EXECUTE ON PROCEDURE bookings_update    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE bookings_delete    TO beds_runtime;
GRANT EXECUTE ON PROCEDURE bookings_by_flight TO beds_runtime;
