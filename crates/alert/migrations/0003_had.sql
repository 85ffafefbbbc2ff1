-- Which recipients have a message that others put off. It follows from no record, and is lost with this file.

ALTER TABLE outbox ADD COLUMN had TEXT; -- a JSON array of marks; NULL as long as nobody has it
