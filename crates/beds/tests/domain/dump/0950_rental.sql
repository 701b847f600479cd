/*M!999999\- enable the sandbox mode */ 
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE IF NOT EXISTS `address` (
  `address_id` smallint(5) unsigned NOT NULL AUTO_INCREMENT,
  `line1` varchar(50) NOT NULL,
  `line2` varchar(50) DEFAULT NULL,
  `quarter` varchar(20) NOT NULL,
  `town_id` smallint(5) unsigned NOT NULL,
  `post_code` varchar(10) DEFAULT NULL,
  `phone` varchar(20) NOT NULL,
  `place` geometry NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`address_id`),
  KEY `idx_fk_town_id` (`town_id`),
  SPATIAL KEY `idx_place` (`place`),
  CONSTRAINT `fk_address_town` FOREIGN KEY (`town_id`) REFERENCES `town` (`town_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=81 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;
LOCK TABLES `address` WRITE;
/*!40000 ALTER TABLE `address` DISABLE KEYS */;
INSERT IGNORE INTO `address` VALUES (1,'42 Quay Row','Floor 0','Docks',1,NULL,'0151847156',0x00000000010100000018CE35CCD06030C0E0B9F770C9094C40,'2026-11-25 04:26:46'),(2,'47 O’Hara Lane',NULL,'Docks',2,'28140','0140260662',0xE610000001010000008CDAFD2AC0672FC040F67AF7C7454A40,'2026-11-25 04:26:46'),(3,'31 Mill Street',NULL,'Old Town',3,'07747','0987825707',0xE6100000010100000032384A5E9D8B20409FC9FE791A1B5140,'2026-11-25 04:26:46'),(4,'81 Pine Street','Floor 3','North',4,'75642','0728720317',0xE61000000101000000ECDFF599B33EC5BF2AE620E868525140,'2026-11-25 04:26:46'),(5,'6 O’Hara Lane',NULL,'Old Town',1,'54937','0254892713',0x000000000101000000CDCB61F71D231C404913EF004F904C40,'2026-11-25 04:51:59'),(6,'72 Pine Lane',NULL,'North',2,'76231','0713326042',0xE61000000101000000A06B5F402FE4274082AAD1AB01964940,'2026-11-25 04:51:59');
/*!40000 ALTER TABLE `address` ENABLE KEYS */;
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `copy` (
  `copy_id` mediumint(8) unsigned NOT NULL AUTO_INCREMENT,
  `title_id` smallint(5) unsigned NOT NULL,
  `shop_id` tinyint(3) unsigned NOT NULL,
  `tag` uuid NOT NULL DEFAULT uuid(),
  `digest` binary(8) DEFAULT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`copy_id`),
  KEY `idx_fk_title_id` (`title_id`),
  KEY `idx_shop_id_title_id` (`shop_id`,`title_id`),
  CONSTRAINT `fk_copy_shop` FOREIGN KEY (`shop_id`) REFERENCES `shop` (`shop_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_copy_title` FOREIGN KEY (`title_id`) REFERENCES `title` (`title_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=131 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `copy` WRITE;
/*!40000 ALTER TABLE `copy` DISABLE KEYS */;
INSERT IGNORE INTO `copy` VALUES (1,1,1,'4d5284b5-dcc9-4e43-820c-7738b5cb42f6',0x6BFA15352F4D8051,'2026-11-25 04:26:46'),(2,2,2,'6e40b885-0538-49eb-9187-b6ec08c401a1',0xA44AB3AD90FB2D7D,'2026-11-25 04:26:46'),(3,3,1,'0dfb6f3a-e9f0-4f41-af11-5a1b940a1624',0x914829FA7F6D8839,'2026-11-25 04:26:46'),(4,4,2,'1e6cc084-d323-49ae-8a14-c57985abe2ed',0xCF71E7F5C6164261,'2026-11-25 04:26:46'),(5,5,1,'eb2b50b5-b21a-40cc-9348-42396bcb5706',0x724BF80B67970AB1,'2026-11-25 04:26:46'),(6,6,2,'631bcb09-ae12-4a3c-839e-0d8b11354113',0x978B66419807633C,'2026-11-25 04:26:46'),(7,1,1,'fb14b195-a8ce-4082-b00e-60f8fe3d856b',0x79B6FCB927C17A26,'2026-11-25 04:51:59'),(8,2,2,'1a1f80d1-8c7e-40c1-a994-2abdc5174a9f',0xA4FE5561153A8E30,'2026-11-25 04:51:59');
/*!40000 ALTER TABLE `copy` ENABLE KEYS */;
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `employee` (
  `employee_id` tinyint(3) unsigned NOT NULL AUTO_INCREMENT,
  `given_name` varchar(45) NOT NULL,
  `family_name` varchar(45) NOT NULL,
  `address_id` smallint(5) unsigned NOT NULL,
  `portrait` blob DEFAULT NULL,
  `email` varchar(50) DEFAULT NULL,
  `shop_id` tinyint(3) unsigned NOT NULL,
  `active` tinyint(1) NOT NULL DEFAULT 1,
  `login` varchar(16) NOT NULL,
  `secret` varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL,
  `shift_start` time DEFAULT NULL,
  `duties` bit(8) NOT NULL DEFAULT b'1',
  `last_ip` inet6 DEFAULT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`employee_id`),
  KEY `idx_fk_shop_id` (`shop_id`),
  KEY `idx_fk_address_id` (`address_id`),
  CONSTRAINT `fk_employee_address` FOREIGN KEY (`address_id`) REFERENCES `address` (`address_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_employee_shop` FOREIGN KEY (`shop_id`) REFERENCES `shop` (`shop_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `employee` WRITE;
INSERT IGNORE INTO `employee` VALUES (1,'Rut','Sand',1,0x89504E470D0A1A0A00FF27220A5C,'rut@shop.example',1,1,'rut','8cb2237d0679ca88db6464eac60da96345513964','08:30:00',0x05,'::1','2026-11-25 04:26:46'),(2,'Tor','Wiik',2,NULL,'tor@shop.example',2,1,'tor',NULL,'-01:15:00',0xFF,'::ffff:192.0.2.7','2026-11-25 04:26:46');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `genre` (
  `genre_id` tinyint(3) unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(25) NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`genre_id`),
  UNIQUE KEY `uq_genre_name` (`name`)
) ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `genre` WRITE;
INSERT IGNORE INTO `genre` VALUES (1,'Drama','2026-11-25 04:26:46'),(2,'Comedy','2026-11-25 04:26:46'),(3,'Crime','2026-11-25 04:26:46'),(4,'Nature','2026-11-25 04:26:46');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `hire` (
  `hire_id` int(11) NOT NULL AUTO_INCREMENT,
  `hired_at` datetime NOT NULL,
  `copy_id` mediumint(8) unsigned NOT NULL,
  `member_id` smallint(5) unsigned NOT NULL,
  `returned_at` datetime DEFAULT NULL,
  `employee_id` tinyint(3) unsigned NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`hire_id`),
  UNIQUE KEY `uq_hire` (`hired_at`,`copy_id`,`member_id`),
  KEY `idx_fk_copy_id` (`copy_id`),
  KEY `idx_fk_member_id` (`member_id`),
  KEY `idx_fk_employee_id` (`employee_id`),
  CONSTRAINT `fk_hire_copy` FOREIGN KEY (`copy_id`) REFERENCES `copy` (`copy_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_hire_employee` FOREIGN KEY (`employee_id`) REFERENCES `employee` (`employee_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_hire_member` FOREIGN KEY (`member_id`) REFERENCES `member` (`member_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=151 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `hire` WRITE;
INSERT IGNORE INTO `hire` VALUES (1,'2026-10-01 11:34:00',2,1,NULL,1,'2026-11-25 04:51:59'),(2,'2026-10-01 14:13:00',3,44,'2026-10-07 14:13:00',2,'2026-11-25 04:51:59'),(3,'2026-10-02 01:42:00',5,1,'2026-10-11 01:42:00',2,'2026-11-25 04:51:59'),(4,'2026-10-02 07:12:00',6,46,'2026-10-05 07:12:00',1,'2026-11-25 04:51:59'),(5,'2026-10-02 11:48:00',7,47,'2026-10-03 11:48:00',2,'2026-11-25 04:51:59'),(6,'2026-10-30 14:00:00',6,1,'2026-11-03 14:00:00',1,'2026-11-25 04:51:59'),(7,'2026-10-30 18:34:00',7,6,NULL,2,'2026-11-25 04:51:59');
UNLOCK TABLES;
/*!50003 SET @saved_cs_client      = @@character_set_client */ ;
/*!50003 SET @saved_cs_results     = @@character_set_results */ ;
/*!50003 SET @saved_col_connection = @@collation_connection */ ;
/*!50003 SET character_set_client  = utf8mb4 */ ;
/*!50003 SET character_set_results = utf8mb4 */ ;
/*!50003 SET collation_connection  = utf8mb4_general_ci */ ;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER hire_bi BEFORE INSERT ON hire FOR EACH ROW SET NEW.hired_at = IFNULL(NULLIF(NEW.hired_at, 0), NOW()) 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50003 SET character_set_client  = @saved_cs_client */ ;
/*!50003 SET character_set_results = @saved_cs_results */ ;
/*!50003 SET collation_connection  = @saved_col_connection */ ;
CREATE TABLE IF NOT EXISTS `member` (
  `member_id` smallint(5) unsigned NOT NULL AUTO_INCREMENT,
  `shop_id` tinyint(3) unsigned NOT NULL,
  `given_name` varchar(45) NOT NULL,
  `family_name` varchar(45) NOT NULL,
  `email` varchar(50) DEFAULT NULL,
  `address_id` smallint(5) unsigned NOT NULL,
  `active` tinyint(1) NOT NULL DEFAULT 1,
  `born_on` date DEFAULT NULL,
  `points` bigint(20) unsigned NOT NULL DEFAULT 0,
  `joined_at` datetime NOT NULL,
  `changed_at` timestamp NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`member_id`),
  KEY `idx_fk_shop_id` (`shop_id`),
  KEY `idx_fk_address_id` (`address_id`),
  KEY `idx_family_name` (`family_name`),
  CONSTRAINT `fk_member_address` FOREIGN KEY (`address_id`) REFERENCES `address` (`address_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_member_shop` FOREIGN KEY (`shop_id`) REFERENCES `shop` (`shop_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=76 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `member` WRITE;
INSERT IGNORE INTO `member` VALUES (1,1,'Elif','Lindqvist','m0@mail.example',5,0,NULL,0,'2026-11-25 04:26:46','2026-11-25 04:26:46'),(2,2,'Elif','D\'Arco','m1@mail.example',6,1,'1981-10-17',17,'2026-11-25 04:26:46','2026-11-25 04:26:46'),(3,1,'Ludo','Casimir','m2@mail.example',4,1,'1970-06-07',34,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(4,2,'Inès','Lindqvist','m3@mail.example',5,1,'1953-03-22',18446744073709551615,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(5,1,'Dov','D\'Arco','m4@mail.example',6,1,'1989-03-05',68,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(6,2,'Jürgen','Lindqvist','m5@mail.example',4,1,'1978-07-09',85,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(7,1,'Gita','Brandt','m6@mail.example',5,1,'1953-05-07',102,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(8,2,'Mira','Holm','m7@mail.example',6,1,'1944-01-13',119,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(9,1,'Núria','Lindqvist','m8@mail.example',4,1,'1968-09-21',136,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(10,2,'Jürgen','Holm','m9@mail.example',5,1,'1942-03-09',153,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(11,1,'Mira','Ashdown','m10@mail.example',6,1,NULL,170,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(12,2,'Hugo','Grün','m11@mail.example',4,1,'1993-04-22',187,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(13,1,'Hugo','Kovač','m12@mail.example',5,1,'1963-11-04',204,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(14,2,'Oto','Grün','m13@mail.example',6,0,'1980-05-21',221,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(15,1,'Dov','Grün','m14@mail.example',4,1,'1971-07-23',238,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(16,2,'Finn','Eklund','m15@mail.example',5,1,'1994-08-15',255,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(17,1,'Ada','Jelinek','m16@mail.example',6,1,'1992-09-22',272,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(18,2,'Finn','Kovač','m17@mail.example',4,1,'1981-01-13',289,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(19,1,'Pia','Brandt','m18@mail.example',5,1,'1944-05-18',306,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(20,2,'Gita','Casimir','m19@mail.example',6,1,'1965-09-12',323,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(21,1,'Dov','Jelinek','m20@mail.example',4,1,NULL,340,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(22,2,'Oto','Ivarsen','m21@mail.example',5,1,'1966-12-16',357,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(23,1,'Ada','Kovač','m22@mail.example',6,1,'1987-09-11',374,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(24,2,'Núria','Lindqvist','m23@mail.example',4,1,'1998-04-22',391,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(25,1,'Finn','Grün','m24@mail.example',5,1,'2005-02-24',408,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(26,2,'Ludo','Kovač','m25@mail.example',6,1,'1947-05-09',425,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(27,1,'Mira','Grün','m26@mail.example',4,0,'1947-01-03',442,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(28,2,'Núria','Grün','m27@mail.example',5,1,'1985-10-09',459,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(29,1,'Dov','D\'Arco','m28@mail.example',6,1,'1978-12-13',476,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(30,2,'Hugo','Grün','m29@mail.example',4,1,'1999-04-06',493,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(31,1,'Elif','Brandt','m30@mail.example',5,1,NULL,510,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(32,2,'Gita','Holm','m31@mail.example',6,1,'1968-03-12',527,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(33,1,'Núria','Holm','m32@mail.example',4,1,'1977-09-21',544,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(34,2,'Elif','Holm','m33@mail.example',5,1,'1985-04-09',561,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(35,1,'Mira','Kovač','m34@mail.example',6,1,'1972-07-22',578,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(36,2,'Finn','Holm','m35@mail.example',4,1,'1940-12-26',595,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(37,1,'Inès','Farkas','m36@mail.example',5,1,'1971-11-10',612,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(38,2,'Kaja','Holm','m37@mail.example',6,1,'2002-07-20',629,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(39,1,'Cleo','Kovač','m38@mail.example',4,1,'1986-03-10',646,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(40,2,'Mira','Ashdown','m39@mail.example',5,0,'1950-10-11',663,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(41,1,'Elif','Ivarsen','m40@mail.example',6,1,NULL,680,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(42,2,'Ludo','Kovač','m41@mail.example',4,1,'1941-11-01',697,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(43,1,'Gita','Brandt','m42@mail.example',5,1,'1977-05-20',714,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(44,2,'Dov','Jelinek','m43@mail.example',6,1,'1958-04-06',731,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(45,1,'Oto','Farkas','m44@mail.example',4,1,'1959-04-13',748,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(46,2,'Finn','Jelinek','m45@mail.example',5,1,'1951-11-18',765,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(47,1,'Jürgen','D\'Arco','m46@mail.example',6,1,'2003-12-07',782,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(48,2,'Cleo','Lindqvist','m47@mail.example',4,1,'1996-11-04',799,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(49,1,'Dov','Eklund','m48@mail.example',5,1,'1993-04-27',816,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(50,2,'Elif','Holm','m49@mail.example',6,1,'2003-09-02',833,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(51,1,'Pia','Holm','m50@mail.example',4,1,NULL,850,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(52,2,'Elif','Lindqvist','m51@mail.example',5,1,'2002-04-16',867,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(53,1,'Finn','Ivarsen','m52@mail.example',6,0,'1940-03-27',884,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(54,2,'Kaja','Holm','m53@mail.example',4,1,'2003-11-10',901,'2026-11-25 04:26:46','2026-11-25 04:51:59'),(55,1,'Oto','Farkas','m54@mail.example',5,1,'1994-07-22',918,'2026-11-25 04:26:46','2026-11-25 04:51:59');
UNLOCK TABLES;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER member_bi BEFORE INSERT ON member FOR EACH ROW SET NEW.joined_at = NOW() 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
CREATE TABLE IF NOT EXISTS `payment` (
  `payment_id` smallint(5) unsigned NOT NULL AUTO_INCREMENT,
  `member_id` smallint(5) unsigned NOT NULL,
  `employee_id` tinyint(3) unsigned NOT NULL,
  `hire_id` int(11) DEFAULT NULL,
  `amount` decimal(5,2) NOT NULL,
  `paid_at` datetime NOT NULL,
  `booked_at` datetime(6) DEFAULT NULL,
  `changed_at` timestamp NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`payment_id`),
  KEY `idx_fk_employee_id` (`employee_id`),
  KEY `idx_fk_member_id` (`member_id`),
  KEY `fk_payment_hire` (`hire_id`),
  CONSTRAINT `fk_payment_employee` FOREIGN KEY (`employee_id`) REFERENCES `employee` (`employee_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_payment_hire` FOREIGN KEY (`hire_id`) REFERENCES `hire` (`hire_id`) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT `fk_payment_member` FOREIGN KEY (`member_id`) REFERENCES `member` (`member_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=151 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `payment` WRITE;
INSERT IGNORE INTO `payment` VALUES (2,44,2,2,7.50,'2026-10-01 14:13:00','2026-11-25 04:26:46.420415','2026-11-25 04:26:46'),(4,1,2,3,4.99,'2026-10-02 01:42:00','2026-11-25 04:26:46.420415','2026-11-25 04:51:59'),(5,46,1,4,2.99,'2026-10-02 07:12:00','2026-11-25 04:26:46.420415','2026-11-25 04:51:59'),(6,47,2,5,0.99,'2026-10-02 11:48:00','2026-11-25 04:26:46.420415','2026-11-25 04:51:59'),(141,1,1,6,7.50,'2026-10-30 14:00:00','2026-11-25 04:26:46.421706','2026-11-25 04:51:59'),(142,6,2,7,4.99,'2026-10-30 18:34:00','2026-11-25 04:26:46.421706','2026-11-25 04:51:59');
UNLOCK TABLES;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER payment_bi BEFORE INSERT ON payment FOR EACH ROW SET NEW.booked_at = NOW(6) 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
CREATE TABLE IF NOT EXISTS `shop` (
  `shop_id` tinyint(3) unsigned NOT NULL AUTO_INCREMENT,
  `head_id` tinyint(3) unsigned NOT NULL,
  `address_id` smallint(5) unsigned NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`shop_id`),
  UNIQUE KEY `idx_unique_head` (`head_id`),
  KEY `idx_fk_address_id` (`address_id`),
  CONSTRAINT `fk_shop_address` FOREIGN KEY (`address_id`) REFERENCES `address` (`address_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_shop_employee` FOREIGN KEY (`head_id`) REFERENCES `employee` (`employee_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `shop` WRITE;
INSERT IGNORE INTO `shop` VALUES (1,1,3,'2026-11-25 04:26:46'),(2,2,4,'2026-11-25 04:26:46');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `title` (
  `title_id` smallint(5) unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(128) NOT NULL,
  `blurb` text DEFAULT NULL,
  `made_in` year(4) DEFAULT NULL,
  `tongue_id` tinyint(3) unsigned NOT NULL,
  `original_tongue_id` tinyint(3) unsigned DEFAULT NULL,
  `hire_days` tinyint(3) unsigned NOT NULL DEFAULT 3,
  `hire_rate` decimal(4,2) NOT NULL DEFAULT 4.99,
  `minutes` smallint(5) unsigned DEFAULT NULL,
  `replacement_cost` decimal(5,2) NOT NULL DEFAULT 19.99,
  `age_class` enum('ALL','6+','12+','16+','18+') DEFAULT 'ALL',
  `extras` set('Trailers','Commentary','Cut Scenes','Making Of') DEFAULT NULL,
  `aspect` float DEFAULT NULL,
  `score` double DEFAULT NULL,
  `facts` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`facts`)),
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`title_id`),
  KEY `idx_name` (`name`),
  KEY `idx_fk_tongue_id` (`tongue_id`),
  KEY `idx_fk_original_tongue_id` (`original_tongue_id`),
  CONSTRAINT `fk_title_tongue` FOREIGN KEY (`tongue_id`) REFERENCES `tongue` (`tongue_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_title_tongue_original` FOREIGN KEY (`original_tongue_id`) REFERENCES `tongue` (`tongue_id`) ON UPDATE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=61 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `title` WRITE;
INSERT IGNORE INTO `title` VALUES (1,'Silent Harbour II',NULL,2004,2,2,3,0.99,127,14.50,'6+',NULL,2.39,8.382,'{\"awards\": 0, \"tags\": [\"a\",\"ü\"]}','2026-11-25 04:51:59'),(2,'Paper Harbour','A tale of the clockmaker -- with \\ and',1995,1,NULL,5,0.99,153,9.99,'16+','Commentary,Cut Scenes,Making Of',1.85,7.134,NULL,'2026-11-25 04:51:59'),(3,'Crooked Harbour','A tale of the orchard -- with \\ and \' ',1981,2,NULL,5,4.99,96,14.50,'12+','Trailers,Commentary,Cut Scenes,Making Of',1.85,8.552,NULL,'2026-11-25 04:51:59'),(4,'Golden Harbour','A tale of the letter -- with \\ and \' a',1945,1,NULL,4,4.99,63,29.99,'12+','Trailers,Commentary,Cut Scenes',1.33,4.246,NULL,'2026-11-25 04:51:59'),(5,'Hollow Harbour','A tale of the tide -- with \\ and \' and',1984,2,NULL,5,0.99,131,9.99,'ALL','Commentary,Making Of',1.85,4.926,'{\"awards\": 4, \"tags\": [\"a\",\"ü\"]}','2026-11-25 04:51:59'),(6,'Burning Harbour','A tale of the winter -- with \\ and \' a',1970,1,2,4,2.99,169,9.99,'16+','',1.33,9.401,NULL,'2026-11-25 04:51:59');
UNLOCK TABLES;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER title_ai AFTER INSERT ON title FOR EACH ROW BEGIN
    INSERT INTO title_text (title_id, name, blurb) VALUES (NEW.title_id, NEW.name, NEW.blurb);
END 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER title_au AFTER UPDATE ON title FOR EACH ROW BEGIN
    IF (OLD.name != NEW.name) OR (NOT OLD.blurb <=> NEW.blurb) OR (OLD.title_id != NEW.title_id) THEN
        UPDATE title_text SET name = NEW.name, blurb = NEW.blurb, title_id = NEW.title_id
         WHERE title_id = OLD.title_id;
    END IF;
END 
*/;;
DELIMITER ;
DELIMITER ;;
/*!50003 CREATE OR REPLACE*/ /*!50003 TRIGGER title_ad AFTER DELETE ON title FOR EACH ROW BEGIN
    DELETE FROM title_text WHERE title_id = OLD.title_id;
END 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
CREATE TABLE IF NOT EXISTS `title_genre` (
  `title_id` smallint(5) unsigned NOT NULL,
  `genre_id` tinyint(3) unsigned NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`title_id`,`genre_id`),
  KEY `fk_title_genre_genre` (`genre_id`),
  CONSTRAINT `fk_title_genre_genre` FOREIGN KEY (`genre_id`) REFERENCES `genre` (`genre_id`) ON UPDATE CASCADE,
  CONSTRAINT `fk_title_genre_title` FOREIGN KEY (`title_id`) REFERENCES `title` (`title_id`) ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `title_genre` WRITE;
INSERT IGNORE INTO `title_genre` VALUES (1,3,'2026-11-25 04:51:59'),(2,4,'2026-11-25 04:51:59'),(3,1,'2026-11-25 04:51:59'),(4,2,'2026-11-25 04:51:59'),(5,3,'2026-11-25 04:51:59'),(6,2,'2026-11-25 04:51:59');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `title_text` (
  `title_id` smallint(6) NOT NULL,
  `name` varchar(255) NOT NULL,
  `blurb` text DEFAULT NULL,
  PRIMARY KEY (`title_id`),
  FULLTEXT KEY `idx_name_blurb` (`name`,`blurb`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `title_text` WRITE;
INSERT IGNORE INTO `title_text` VALUES (1,'Silent Harbour II',NULL),(2,'Paper Harbour','A tale of the clockmaker -- with \\ and'),(3,'Crooked Harbour','A tale of the orchard -- with \\ and \' '),(4,'Golden Harbour','A tale of the letter -- with \\ and \' a'),(5,'Hollow Harbour','A tale of the tide -- with \\ and \' and'),(6,'Burning Harbour','A tale of the winter -- with \\ and \' a');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `tongue` (
  `tongue_id` tinyint(3) unsigned NOT NULL AUTO_INCREMENT,
  `name` char(20) NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`tongue_id`)
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `tongue` WRITE;
INSERT IGNORE INTO `tongue` VALUES (1,'Norvian','2026-11-25 04:26:46'),(2,'English','2026-11-25 04:26:46');
UNLOCK TABLES;
CREATE TABLE IF NOT EXISTS `town` (
  `town_id` smallint(5) unsigned NOT NULL AUTO_INCREMENT,
  `town` varchar(50) NOT NULL,
  `nation` varchar(50) NOT NULL,
  `changed_at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  PRIMARY KEY (`town_id`)
) ENGINE=InnoDB AUTO_INCREMENT=13 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
LOCK TABLES `town` WRITE;
INSERT IGNORE INTO `town` VALUES (1,'Fjordby','Norvia','2026-11-25 04:26:46'),(2,'Hafenau','Estmark','2026-11-25 04:51:59'),(3,'Møllevik','Sundal','2026-11-25 04:51:59'),(4,'Saint-Ésprit','Côte Brune','2026-11-25 04:51:59');
UNLOCK TABLES;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
CREATE OR REPLACE FUNCTION `copy_held_by`(p_copy_id INT) RETURNS int(11)
    READS SQL DATA
BEGIN
  DECLARE v_member_id INT;
  DECLARE EXIT HANDLER FOR NOT FOUND RETURN NULL;
  SELECT member_id INTO v_member_id FROM hire WHERE returned_at IS NULL AND copy_id = p_copy_id;
  RETURN v_member_id;
END
;;
DELIMITER ;
DELIMITER ;;
CREATE OR REPLACE FUNCTION `copy_in_stock`(p_copy_id INT) RETURNS tinyint(1)
    READS SQL DATA
BEGIN
  DECLARE v_out INT;
  SELECT COUNT(hire_id) INTO v_out FROM hire WHERE copy_id = p_copy_id AND returned_at IS NULL;
  IF v_out > 0 THEN
    RETURN FALSE;
  ELSE
    RETURN TRUE;
  END IF;
END
;;
CREATE OR REPLACE FUNCTION `member_balance`(p_member_id INT, p_when DATETIME) RETURNS decimal(7,2)
    READS SQL DATA
    DETERMINISTIC
BEGIN
  DECLARE v_due, v_paid DECIMAL(7,2);
  SELECT IFNULL(SUM(title.hire_rate + GREATEST(IFNULL(DATEDIFF(hire.returned_at, hire.hired_at) - CAST(title.hire_days AS SIGNED), 0), 0)), 0) INTO v_due
    FROM title, copy, hire
   WHERE title.title_id = copy.title_id AND copy.copy_id = hire.copy_id AND hire.hired_at <= p_when AND hire.member_id = p_member_id;
  SELECT IFNULL(SUM(payment.amount), 0) INTO v_paid FROM payment WHERE payment.paid_at <= p_when AND payment.member_id = p_member_id;
  RETURN v_due - v_paid;
END
;;
CREATE OR REPLACE PROCEDURE `bonus_report`(IN p_min_hires TINYINT UNSIGNED, IN p_min_spent DECIMAL(10,2) UNSIGNED, OUT p_count_winners INT)
    READS SQL DATA
    COMMENT 'Members of one month who earned a bonus'
proc: BEGIN
    DECLARE first_day DATE;
    IF p_min_hires = 0 THEN
        SELECT 'The least number of hires must be above 0' AS refused;
        LEAVE proc;
    END IF;
    SELECT STR_TO_DATE(DATE_FORMAT(MAX(paid_at), '%Y-%m-01'), '%Y-%m-%d') INTO first_day FROM payment;
    CREATE TEMPORARY TABLE tmp_winner (member_id SMALLINT UNSIGNED NOT NULL PRIMARY KEY);
    INSERT INTO tmp_winner (member_id)
    SELECT p.member_id FROM payment AS p WHERE DATE(p.paid_at) BETWEEN first_day AND LAST_DAY(first_day)
     GROUP BY member_id HAVING SUM(p.amount) > p_min_spent AND COUNT(member_id) >= p_min_hires;
    SELECT COUNT(*) FROM tmp_winner INTO p_count_winners;
    SELECT m.* FROM tmp_winner AS w INNER JOIN member AS m ON w.member_id = m.member_id;
    DROP TEMPORARY TABLE tmp_winner;
END
;;
CREATE OR REPLACE PROCEDURE `copies_in_stock`(IN p_title_id INT, IN p_shop_id INT, OUT p_count INT)
    READS SQL DATA
BEGIN
  SELECT copy_id FROM copy WHERE title_id = p_title_id AND shop_id = p_shop_id AND copy_in_stock(copy_id);
  SELECT FOUND_ROWS() INTO p_count;
END
;;
CREATE OR REPLACE PROCEDURE `copies_out`(IN p_title_id INT, IN p_shop_id INT, OUT p_count INT)
    READS SQL DATA
BEGIN
  SELECT copy_id FROM copy WHERE title_id = p_title_id AND shop_id = p_shop_id AND NOT copy_in_stock(copy_id);
  SELECT FOUND_ROWS() INTO p_count;
END
;;
CREATE OR REPLACE PROCEDURE `genre_ensure`(IN p_name VARCHAR(25) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, OUT p_genre_id INT)
    MODIFIES SQL DATA
BEGIN
  INSERT IGNORE INTO genre (name) VALUES (p_name);
  SET p_genre_id = LAST_INSERT_ID();
  IF p_genre_id = 0 THEN
    SELECT genre_id INTO p_genre_id FROM genre WHERE name = p_name;
  END IF;
  SELECT genre_id, name FROM genre WHERE genre_id = p_genre_id;
END
;;
CREATE OR REPLACE PROCEDURE `hire_start`(IN p_copy_id MEDIUMINT UNSIGNED, IN p_member_id SMALLINT UNSIGNED, IN p_employee_id TINYINT UNSIGNED, OUT p_hire_id INT)
    MODIFIES SQL DATA
BEGIN
  DECLARE v_copy_id MEDIUMINT UNSIGNED;
  SELECT copy_id INTO v_copy_id FROM copy WHERE copy_id = p_copy_id FOR UPDATE;
  IF NOT copy_in_stock(p_copy_id) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this copy is out already';
  END IF;
  INSERT INTO hire (hired_at, copy_id, member_id, employee_id) VALUES (NOW(), p_copy_id, p_member_id, p_employee_id);
  SET p_hire_id = LAST_INSERT_ID();
  SELECT * FROM hire WHERE hire_id = p_hire_id;
END
;;
CREATE OR REPLACE PROCEDURE `title_overview`(IN p_title_id SMALLINT UNSIGNED)
    READS SQL DATA
BEGIN
  SELECT title_id, name, made_in, hire_rate, age_class, extras FROM title WHERE title_id = p_title_id;
  SELECT c.copy_id, c.shop_id, c.tag FROM copy c WHERE c.title_id = p_title_id ORDER BY c.copy_id;
END
;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50001 SET @saved_cs_client          = @@character_set_client */;
/*!50001 SET @saved_cs_results         = @@character_set_results */;
/*!50001 SET @saved_col_connection     = @@collation_connection */;
/*!50001 SET character_set_client      = utf8mb4 */;
/*!50001 SET character_set_results     = utf8mb4 */;
/*!50001 SET collation_connection      = utf8mb4_general_ci */;
/*!50001 CREATE OR REPLACE ALGORITHM=UNDEFINED */
/*!50013 SQL SECURITY INVOKER */
/*!50001 VIEW `genre_info` AS select `g`.`genre_id` AS `genre_id`,`g`.`name` AS `name`,(select group_concat(`ti`.`name` order by `ti`.`name` ASC separator ', ') from (`title` `ti` join `title_genre` `tg` on(`tg`.`title_id` = `ti`.`title_id`)) where `tg`.`genre_id` = `g`.`genre_id`) AS `titles` from `genre` `g` */;
/*!50001 SET character_set_client      = @saved_cs_client */;
/*!50001 SET character_set_results     = @saved_cs_results */;
/*!50001 SET collation_connection      = @saved_col_connection */;
/*!50001 CREATE OR REPLACE ALGORITHM=UNDEFINED */
/*!50013 SQL SECURITY DEFINER */
/*!50001 VIEW `member_list` AS select `m`.`member_id` AS `ID`,concat(`m`.`given_name`,_utf8mb4' ',`m`.`family_name`) AS `name`,`a`.`line1` AS `address`,`a`.`post_code` AS `post code`,`t`.`town` AS `town`,if(`m`.`active`,_utf8mb4'active',_utf8mb4'') AS `notes`,`m`.`shop_id` AS `SID` from ((`member` `m` join `address` `a` on(`m`.`address_id` = `a`.`address_id`)) join `town` `t` on(`a`.`town_id` = `t`.`town_id`)) */;
/*!50001 CREATE OR REPLACE ALGORITHM=UNDEFINED */
/*!50013 SQL SECURITY DEFINER */
/*!50001 VIEW `takings_by_genre` AS select `g`.`name` AS `genre`,sum(`p`.`amount`) AS `total` from ((((`payment` `p` join `hire` `r` on(`p`.`hire_id` = `r`.`hire_id`)) join `copy` `c` on(`r`.`copy_id` = `c`.`copy_id`)) join `title_genre` `tg` on(`c`.`title_id` = `tg`.`title_id`)) join `genre` `g` on(`tg`.`genre_id` = `g`.`genre_id`)) group by `g`.`name` order by sum(`p`.`amount`) desc */;
/*!50001 CREATE OR REPLACE ALGORITHM=UNDEFINED */
/*!50013 SQL SECURITY DEFINER */
/*!50001 VIEW `title_list` AS select `ti`.`title_id` AS `TID`,`ti`.`name` AS `name`,`ti`.`hire_rate` AS `price`,group_concat(`g`.`name` order by `g`.`name` ASC separator ', ') AS `genres` from ((`title` `ti` left join `title_genre` `tg` on(`tg`.`title_id` = `ti`.`title_id`)) left join `genre` `g` on(`g`.`genre_id` = `tg`.`genre_id`)) group by `ti`.`title_id` */;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;
/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;
-- From here on by hand: what applications may do, and the rights, which no dump has.
DELIMITER //
CREATE OR REPLACE PROCEDURE titles_create(
  IN p_name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, IN p_blurb TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_made_in YEAR, IN p_tongue_id TINYINT UNSIGNED, IN p_hire_days TINYINT UNSIGNED, IN p_hire_rate DECIMAL(4,2), IN p_minutes SMALLINT UNSIGNED,
  IN p_age_class ENUM('ALL','6+','12+','16+','18+') CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_extras SET('Trailers','Commentary','Cut Scenes','Making Of') CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_aspect FLOAT, IN p_score DOUBLE, IN p_facts JSON)
  MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  INSERT INTO title (name, blurb, made_in, tongue_id, hire_days, hire_rate, minutes, age_class, extras, aspect, score, facts)
  VALUES (p_name, p_blurb, p_made_in, p_tongue_id, COALESCE(p_hire_days, DEFAULT(hire_days)), COALESCE(p_hire_rate, DEFAULT(hire_rate)), p_minutes,
          COALESCE(p_age_class, DEFAULT(age_class)), p_extras, p_aspect, p_score, p_facts);
  SELECT * FROM title WHERE title_id = LAST_INSERT_ID();
END //
CREATE OR REPLACE PROCEDURE titles_fetch(IN p_id SMALLINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM title WHERE title_id = p_id //
CREATE OR REPLACE PROCEDURE titles_list(IN p_limit INT UNSIGNED, IN p_after SMALLINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM title WHERE title_id > COALESCE(p_after, 0) ORDER BY title_id LIMIT p_limit //
CREATE OR REPLACE PROCEDURE titles_update(IN p_id SMALLINT UNSIGNED, IN p_blurb TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_hire_rate DECIMAL(4,2), IN p_extras SET('Trailers','Commentary','Cut Scenes','Making Of') CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, IN p_document JSON)
  MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  UPDATE title SET blurb = IF(JSON_EXISTS(p_document, '$.blurb'), p_blurb, blurb), hire_rate = IF(JSON_EXISTS(p_document, '$.hire_rate'), p_hire_rate, hire_rate),
         extras = IF(JSON_EXISTS(p_document, '$.extras'), p_extras, extras) WHERE title_id = p_id;
  SELECT * FROM title WHERE title_id = p_id;
END //
CREATE OR REPLACE PROCEDURE titles_delete(IN p_id SMALLINT UNSIGNED) MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  SELECT * FROM title WHERE title_id = p_id FOR UPDATE;
  DELETE FROM title WHERE title_id = p_id;
END //
CREATE OR REPLACE PROCEDURE members_create(IN p_shop_id TINYINT UNSIGNED, IN p_given_name VARCHAR(45) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_family_name VARCHAR(45) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, IN p_email VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_address_id SMALLINT UNSIGNED, IN p_active BOOLEAN, IN p_born_on DATE, IN p_points BIGINT UNSIGNED)
  MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  INSERT INTO member (shop_id, given_name, family_name, email, address_id, active, born_on, points, joined_at)
  VALUES (p_shop_id, p_given_name, p_family_name, p_email, p_address_id, COALESCE(p_active, TRUE), p_born_on, COALESCE(p_points, 0), NOW());
  SELECT * FROM member WHERE member_id = LAST_INSERT_ID();
END //
CREATE OR REPLACE PROCEDURE members_fetch(IN p_id SMALLINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM member WHERE member_id = p_id //
CREATE OR REPLACE PROCEDURE members_list(IN p_limit INT UNSIGNED, IN p_after SMALLINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM member WHERE member_id > COALESCE(p_after, 0) ORDER BY member_id LIMIT p_limit //
CREATE OR REPLACE PROCEDURE hires_fetch(IN p_id INT) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM hire WHERE hire_id = p_id //
CREATE OR REPLACE PROCEDURE hires_return(IN p_id INT, IN p_returned_at DATETIME) MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  UPDATE hire SET returned_at = COALESCE(p_returned_at, NOW()) WHERE hire_id = p_id AND returned_at IS NULL;
  IF ROW_COUNT() = 0 AND EXISTS (SELECT 1 FROM hire WHERE hire_id = p_id) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this hire was closed before';
  END IF;
  SELECT * FROM hire WHERE hire_id = p_id;
END //
CREATE OR REPLACE PROCEDURE addresses_create(IN p_line1 VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, IN p_quarter VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
  IN p_town_id SMALLINT UNSIGNED, IN p_phone VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, IN p_place GEOMETRY)
  MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  INSERT INTO address (line1, quarter, town_id, phone, place) VALUES (p_line1, p_quarter, p_town_id, p_phone, p_place);
  SELECT * FROM address WHERE address_id = LAST_INSERT_ID();
END //
CREATE OR REPLACE PROCEDURE addresses_fetch(IN p_id SMALLINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM address WHERE address_id = p_id //
CREATE OR REPLACE PROCEDURE employees_list(IN p_limit INT UNSIGNED, IN p_after TINYINT UNSIGNED) READS SQL DATA SQL SECURITY DEFINER
SELECT * FROM employee WHERE employee_id > COALESCE(p_after, 0) ORDER BY employee_id LIMIT p_limit //
DELIMITER ;
GRANT EXECUTE ON PROCEDURE titles_create TO beds_runtime; GRANT EXECUTE ON PROCEDURE titles_fetch TO beds_runtime;
GRANT EXECUTE ON PROCEDURE titles_list TO beds_runtime; GRANT EXECUTE ON PROCEDURE titles_update TO beds_runtime;
GRANT EXECUTE ON PROCEDURE titles_delete TO beds_runtime; GRANT EXECUTE ON PROCEDURE members_create TO beds_runtime;
GRANT EXECUTE ON PROCEDURE members_fetch TO beds_runtime; GRANT EXECUTE ON PROCEDURE members_list TO beds_runtime;
GRANT EXECUTE ON PROCEDURE hires_fetch TO beds_runtime; GRANT EXECUTE ON PROCEDURE hires_return TO beds_runtime;
GRANT EXECUTE ON PROCEDURE addresses_create TO beds_runtime; GRANT EXECUTE ON PROCEDURE addresses_fetch TO beds_runtime;
GRANT EXECUTE ON PROCEDURE employees_list TO beds_runtime; GRANT EXECUTE ON PROCEDURE bonus_report TO beds_runtime;
GRANT EXECUTE ON PROCEDURE copies_in_stock TO beds_runtime; GRANT EXECUTE ON PROCEDURE copies_out TO beds_runtime;
GRANT EXECUTE ON PROCEDURE genre_ensure TO beds_runtime; GRANT EXECUTE ON PROCEDURE hire_start TO beds_runtime;
GRANT EXECUTE ON PROCEDURE title_overview TO beds_runtime; GRANT EXECUTE ON FUNCTION copy_held_by TO beds_runtime;
GRANT EXECUTE ON FUNCTION copy_in_stock TO beds_runtime; GRANT EXECUTE ON FUNCTION member_balance TO beds_runtime;
GRANT SELECT ON member_list TO beds_runtime; GRANT SELECT ON title_list TO beds_runtime;
GRANT SELECT ON takings_by_genre TO beds_runtime;
