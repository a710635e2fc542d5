package testserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
	"time"
)

const (
	azuriteProgram = "conformance/clients/npm/node_modules/azurite/dist/src/blob/main.js"
	azureAccount   = "testaccount"
	azureVersion   = "2021-08-06"
)

// azureKey is the secret of the account.
var azureKey = []byte("a key of the account of the test")

var azureServer process

// Azure returns the URL of a new container on an Azurite. It sets the variables of the Azure SDK
// for this process, so that the SDK asks no other machine.
func Azure(t testing.TB) (bucketURL string) {
	t.Helper()
	key := base64.StdEncoding.EncodeToString(azureKey)
	azureServer.start(t, map[string]string{
		"AZURE_STORAGE_ACCOUNT": azureAccount, "AZURE_STORAGE_KEY": key, "AZURITE_ACCOUNTS": azureAccount + ":" + key,
	}, "/", func(addr, dir string) []string {
		host, port := splitAddr(t, addr)
		return []string{Program(t, "node"), fromRoot(t, azuriteProgram), "--blobHost", host, "--blobPort", port,
			"--location", dir, "--silent", "--skipApiVersionCheck", "--disableTelemetry"}
	})
	name, endpoint := newBucketName(), "http://"+azureServer.addr+"/"+azureAccount
	makeContainer(t, endpoint, name)
	return fmt.Sprintf("azblob://%s?endpoint=%s", name, endpoint)
}

// makeContainer sends a request that is signed with the key of the account.
func makeContainer(t testing.TB, endpoint, name string) {
	t.Helper()
	r, err := http.NewRequest("PUT", endpoint+"/"+name+"?restype=container", nil)
	if err != nil {
		t.Fatal(err)
	}
	date := time.Now().UTC().Format(http.TimeFormat)
	r.Header.Set("x-ms-date", date)
	r.Header.Set("x-ms-version", azureVersion)
	mac := hmac.New(sha256.New, azureKey)
	fmt.Fprintf(mac, "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:%s\nx-ms-version:%s\n/%[3]s/%[3]s/%[4]s\nrestype:container",
		date, azureVersion, azureAccount, name)
	r.Header.Set("Authorization", "SharedKey "+azureAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("making a container: %v, %v", resp, err)
	}
}
