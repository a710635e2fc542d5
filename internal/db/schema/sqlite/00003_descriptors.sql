-- +goose Up

-- The length of a manifest's descriptor in a list of referrers, in bytes of JSON. NULL in
-- older rows without a subject, which no list has.
ALTER TABLE manifests ADD COLUMN descriptor_size INTEGER;

-- annotations is now the JSON that such a list has, and 'null' where that is nothing or longer
-- than 64 KiB. Until now it was as long as it came, with the characters <, > and & escaped. A
-- pair \\ is no part of such an escape: char(1), which JSON never has, stands for it meanwhile.
UPDATE manifests
SET annotations = replace(replace(replace(replace(replace(annotations,
    '\\', char(1)), '\u003c', '<'), '\u003e', '>'), '\u0026', '&'), char(1), '\\')
WHERE subject_digest IS NOT NULL AND instr(annotations, '\u00') > 0;

UPDATE manifests
SET annotations = 'null'
WHERE subject_digest IS NOT NULL AND (annotations = '{}' OR octet_length(annotations) > 65536);

UPDATE manifests
SET descriptor_size = octet_length('{"mediaType":,"digest":"","size":}')
    + octet_length(json_quote(media_type)) + octet_length(digest) + octet_length(size)
    + CASE annotations WHEN 'null' THEN 0 ELSE octet_length(',"annotations":') + octet_length(annotations) END
    + CASE artifact_type WHEN '' THEN 0 ELSE octet_length(',"artifactType":') + octet_length(json_quote(artifact_type)) END
WHERE subject_digest IS NOT NULL;

-- A list's lengths are read from the indexes alone.
DROP INDEX manifests_subject;
CREATE INDEX manifests_subject ON manifests (repository_id, subject_digest, digest, descriptor_size)
WHERE subject_digest IS NOT NULL;
DROP INDEX manifests_subject_type;
CREATE INDEX manifests_subject_type ON manifests (repository_id, subject_digest, artifact_type, digest, descriptor_size)
WHERE subject_digest IS NOT NULL;
