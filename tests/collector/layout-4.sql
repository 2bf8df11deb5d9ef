-- A database of layout 4. Never change it: releases to come must go on with such a one.
BEGIN TRANSACTION;
CREATE TABLE cell (
	report_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	cell_id VARCHAR(255) NOT NULL,
	object_id VARCHAR(255) NOT NULL,
	x INTEGER NOT NULL,
	y INTEGER NOT NULL,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	area_um2 FLOAT NOT NULL,
	label VARCHAR(32) NOT NULL,
	probability FLOAT,
	flags TEXT NOT NULL,
	PRIMARY KEY (report_id, number),
	FOREIGN KEY(report_id) REFERENCES report (id) ON DELETE CASCADE
);
INSERT INTO "cell" VALUES(1,1,'run-00000001-1','r-s1-c1',10,20,160,150,105.0,'normal',0.03,'');
INSERT INTO "cell" VALUES(1,2,'run-00000001-2','r-s1-c2',10,20,160,150,105.0,'normal',0.03,'');
INSERT INTO "cell" VALUES(2,1,'run-00000002-1','r-s1-c1',10,20,160,150,105.0,'normal',0.03,'');
INSERT INTO "cell" VALUES(2,2,'run-00000002-2','r-s1-c3',0,0,9,90,20.0,'not_judged',NULL,'edge');
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('layout','4');
CREATE TABLE picture (
	id INTEGER NOT NULL,
	device VARCHAR(255) NOT NULL,
	kind VARCHAR(16) NOT NULL,
	name VARCHAR(255) NOT NULL,
	captured_at DATETIME NOT NULL,
	fetched_at DATETIME NOT NULL,
	bytes INTEGER NOT NULL,
	media_type VARCHAR(64) NOT NULL,
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	um_per_pixel FLOAT NOT NULL,
	box TEXT,
	data BLOB NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT picture_key UNIQUE (device, kind, name)
);
INSERT INTO "picture" VALUES(1,'scope-1','cell','run-00000001-1','2026-01-31 12:00:00.123000','2026-01-31 12:00:01.123000',93,'image/png',8,8,0.1,'{"x":2,"y":2,"width":4,"height":4}',X'89504E470D0A1A0A0000000D49484452000000080000000808020000004B6D29DC0000002449444154081D6DC101010000000120FE1F6B9603AAC853E429F214798A3C459E224F91671CA412C92F70EA300000000049454E44AE426082');
INSERT INTO "picture" VALUES(2,'scope-1','cell','run-00000001-2','2026-01-31 12:00:00.123000','2026-01-31 12:00:01.123000',0,'',0,0,0.0,NULL,X'');
CREATE TABLE quarantine (
	id INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	cause VARCHAR(16) NOT NULL,
	topic TEXT NOT NULL,
	error TEXT NOT NULL,
	payload BLOB NOT NULL,
	times INTEGER NOT NULL,
	first_at DATETIME NOT NULL,
	last_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (digest)
);
INSERT INTO "quarantine" VALUES(1,'124943ba2056979577381f2c47660982bb3f29994667d1c61fced2b6e07b9f20','malformed','microscopy/v1/lab/scope-1/frame','1 validation error for FrameReport
  Invalid JSON: EOF while parsing an object at line 1 column 1 [type=json_invalid, input_value=b''{'', input_type=bytes]
    For further information visit https://errors.pydantic.dev/2.14/v/json_invalid',X'7B',1,'2026-01-31 12:00:00.123000','2026-01-31 12:00:00.123000');
CREATE TABLE report (
	id INTEGER NOT NULL,
	device VARCHAR(255) NOT NULL,
	epoch VARCHAR(255) NOT NULL,
	seq BIGINT NOT NULL,
	site VARCHAR(255) NOT NULL,
	slide_id VARCHAR(255) NOT NULL,
	frame_id VARCHAR(255) NOT NULL,
	source TEXT NOT NULL,
	captured_at DATETIME NOT NULL,
	received_at DATETIME NOT NULL,
	accepted BOOLEAN NOT NULL,
	reasons TEXT NOT NULL,
	model_id VARCHAR(255) NOT NULL,
	engine VARCHAR(255) NOT NULL,
	cells INTEGER NOT NULL,
	body TEXT NOT NULL,
	withdraws VARCHAR(255),
	joined TEXT,
	PRIMARY KEY (id),
	CONSTRAINT report_key UNIQUE (device, epoch, seq)
);
INSERT INTO "report" VALUES(1,'scope-1','0123456789abcdef',1,'lab','slide-7','run-00000001','smear-00001.png','2026-01-31 12:00:00.123000','2026-01-31 12:00:00.123000',1,'','blast-1','onnxruntime-int8',2,'{"schema_version":2,"device":"scope-1","site":"lab","epoch":"0123456789abcdef","seq":1,"slide_id":"slide-7","frame":{"id":"run-00000001","source":"smear-00001.png","captured_at":"2026-01-31T12:00:00.123Z","timed_by":"file","width":640,"height":480,"um_per_pixel":0.075},"quality":{"accepted":true,"reasons":[],"detail":"","focus":0.0,"background":0.0,"unevenness":0.0,"saturated":0.0,"noise":0.0,"motion":0.0,"red_hue":0.0,"dark_hue":0.0,"far_from_training":null,"scale":0.0},"cells":[{"cell_id":"run-00000001-1","box":{"x":10,"y":20,"width":160,"height":150},"area_um2":105.0,"label":"normal","probability":0.03,"classes":null,"flags":[],"object_id":"r-s1-c1"},{"cell_id":"run-00000001-2","box":{"x":10,"y":20,"width":160,"height":150},"area_um2":105.0,"label":"normal","probability":0.03,"classes":null,"flags":[],"object_id":"r-s1-c2"}],"model":{"id":"blast-1","sha256":"0000000000000000000000000000000000000000000000000000000000000000","engine":"onnxruntime-int8","gate":"","colour":"off"},"timing_ms":{"read":0.0,"quality":0.0,"segment":0.0,"classify":0.0,"place":0.0,"total":0.0},"position_um":null,"joined":null,"withdraws":""}','',NULL);
INSERT INTO "report" VALUES(2,'scope-1','0123456789abcdef',2,'lab','slide-7','run-00000002','smear-00002.png','2026-01-31 12:00:00.123000','2026-01-31 12:00:00.123000',1,'','blast-1','onnxruntime-int8',2,'{"schema_version":2,"device":"scope-1","site":"lab","epoch":"0123456789abcdef","seq":2,"slide_id":"slide-7","frame":{"id":"run-00000002","source":"smear-00002.png","captured_at":"2026-01-31T12:00:00.123Z","timed_by":"file","width":640,"height":480,"um_per_pixel":0.075},"quality":{"accepted":true,"reasons":[],"detail":"","focus":0.0,"background":0.0,"unevenness":0.0,"saturated":0.0,"noise":0.0,"motion":0.0,"red_hue":0.0,"dark_hue":0.0,"far_from_training":null,"scale":0.0},"cells":[{"cell_id":"run-00000002-1","box":{"x":10,"y":20,"width":160,"height":150},"area_um2":105.0,"label":"normal","probability":0.03,"classes":null,"flags":[],"object_id":"r-s1-c1"},{"cell_id":"run-00000002-2","box":{"x":0,"y":0,"width":9,"height":90},"area_um2":20.0,"label":"not_judged","probability":null,"classes":null,"flags":["edge"],"object_id":"r-s1-c3"}],"model":{"id":"blast-1","sha256":"0000000000000000000000000000000000000000000000000000000000000000","engine":"onnxruntime-int8","gate":"","colour":"off"},"timing_ms":{"read":0.0,"quality":0.0,"segment":0.0,"classify":0.0,"place":0.0,"total":0.0},"position_um":null,"joined":{"part":2,"x":1.5,"y":-2.0,"same":{"r-s1-c2":"r-s1-c1"}},"withdraws":""}','','{"part":2,"x":1.5,"y":-2.0,"same":{"r-s1-c2":"r-s1-c1"}}');
INSERT INTO "report" VALUES(3,'scope-1','0123456789abcdef',4,'lab','slide-7','run-00000004','smear-00004.png','2026-01-31 12:00:00.123000','2026-01-31 12:00:00.123000',0,'wrong_scale','blast-1','onnxruntime-int8',0,'{"schema_version":2,"device":"scope-1","site":"lab","epoch":"0123456789abcdef","seq":4,"slide_id":"slide-7","frame":{"id":"run-00000004","source":"smear-00004.png","captured_at":"2026-01-31T12:00:00.123Z","timed_by":"file","width":640,"height":480,"um_per_pixel":0.075},"quality":{"accepted":false,"reasons":["wrong_scale"],"detail":"","focus":0.0,"background":0.0,"unevenness":0.0,"saturated":0.0,"noise":0.0,"motion":0.0,"red_hue":0.0,"dark_hue":0.0,"far_from_training":null,"scale":0.0},"cells":[],"model":{"id":"blast-1","sha256":"0000000000000000000000000000000000000000000000000000000000000000","engine":"onnxruntime-int8","gate":"","colour":"off"},"timing_ms":{"read":0.0,"quality":0.0,"segment":0.0,"classify":0.0,"place":0.0,"total":0.0},"position_um":null,"joined":null,"withdraws":"r-s1-c3"}','r-s1-c3',NULL);
CREATE TABLE slide (
	device VARCHAR(255) NOT NULL,
	slide_id VARCHAR(255) NOT NULL,
	count_id VARCHAR(255) NOT NULL,
	site VARCHAR(255) NOT NULL,
	received_at DATETIME NOT NULL,
	body TEXT NOT NULL,
	PRIMARY KEY (device, slide_id, count_id)
);
CREATE TABLE stream (
	device VARCHAR(255) NOT NULL,
	epoch VARCHAR(255) NOT NULL,
	site VARCHAR(255) NOT NULL,
	upto BIGINT NOT NULL,
	floor BIGINT NOT NULL,
	received_at DATETIME NOT NULL,
	PRIMARY KEY (device, epoch)
);
INSERT INTO "stream" VALUES('scope-1','0123456789abcdef','lab',2,0,'2026-01-31 12:00:00.123000');
CREATE INDEX report_slide ON report (slide_id, captured_at);
CREATE INDEX picture_age ON picture (captured_at, bytes);
COMMIT;
