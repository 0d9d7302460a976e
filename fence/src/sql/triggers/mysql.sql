-- Rows of {table} are written only under a fencing token that is not stale. A connection declares its token with
--   SET @leasehold_token = 34;
-- and must take it back before it goes to somebody else: SET @leasehold_token = NULL;
-- To raise the mark before reading, as a new holder must: CALL {trigger}_raise('the lock', 34);
-- A holder that has been overtaken gets SQLSTATE LH409, a writer without a token LH428. What is not seen: TRUNCATE, and
-- what foreign keys change by themselves. If the lock is named after a number that the server gives (AUTO_INCREMENT), insert
-- with the number: there is none yet when the trigger looks.
DELIMITER //
DROP PROCEDURE IF EXISTS {trigger}_raise //
CREATE PROCEDURE {trigger}_raise(IN lock_name VARBINARY(255), IN token BIGINT)
BEGIN
  DECLARE seen BIGINT;
  IF token IS NULL THEN
    SIGNAL SQLSTATE 'LH428' SET MESSAGE_TEXT = 'no fencing token: SET @leasehold_token before writing';
  END IF;
  INSERT INTO {marks} (name, exclusive_token, shared_token) VALUES (lock_name, token, 0)
    ON DUPLICATE KEY UPDATE exclusive_token = IF(token >= GREATEST(exclusive_token, shared_token), token, exclusive_token);
  SELECT GREATEST(exclusive_token, shared_token) INTO seen FROM {marks} WHERE name = lock_name FOR UPDATE;
  IF seen > token THEN
    SIGNAL SQLSTATE 'LH409' SET MESSAGE_TEXT = 'the fencing token is stale';
  END IF;
END //
DROP TRIGGER IF EXISTS {trigger}_insert //
CREATE TRIGGER {trigger}_insert BEFORE INSERT ON {table} FOR EACH ROW
  CALL {trigger}_raise({new_lock}, @leasehold_token) //
DROP TRIGGER IF EXISTS {trigger}_delete //
CREATE TRIGGER {trigger}_delete BEFORE DELETE ON {table} FOR EACH ROW
  CALL {trigger}_raise({old_lock}, @leasehold_token) //
DROP TRIGGER IF EXISTS {trigger}_update //
CREATE TRIGGER {trigger}_update BEFORE UPDATE ON {table} FOR EACH ROW
BEGIN
  CALL {trigger}_raise({old_lock}, @leasehold_token);
  CALL {trigger}_raise({new_lock}, @leasehold_token);
END //
DELIMITER ;
