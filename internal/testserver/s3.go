package testserver

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// The credentials of the S3 server.
const (
	S3Key    = "testkey"
	S3Secret = "testsecret"
)

var (
	s3Server process
	buckets  atomic.Int64 // made by this process
)

// S3 returns the URL of a new bucket on a versitygw, which serves a directory by the protocol of
// S3. It sets the variables of the AWS SDK for this process, so that the SDK asks no other machine.
func S3(t testing.TB) (bucketURL string) {
	t.Helper()
	s3Server.start(t, map[string]string{
		"AWS_ACCESS_KEY_ID": S3Key, "AWS_SECRET_ACCESS_KEY": S3Secret, "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"ROOT_ACCESS_KEY": S3Key, "ROOT_SECRET_KEY": S3Secret,
	}, "/health", func(addr, dir string) []string {
		return []string{goTool(t, "versitygw"), "--port", addr, "--region", "us-east-1", "--keep-alive", "--quiet",
			"--health", "/health", "posix", dir}
	})
	name := newBucketName()
	if err := os.Mkdir(filepath.Join(s3Server.dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("s3://%s?region=us-east-1&endpoint=http://%s", name, s3Server.addr)
}

func newBucketName() string { return fmt.Sprintf("test-%d", buckets.Add(1)) }
