// Uses a registry as a script would, with one of Node's HTTP libraries, and checks what it reads.
//
//     client.mjs http|fetch URL USER NAMESPACE < password
//
// It reads the answers with most header fields and the longest ones: Node takes headers of 16 KiB.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";

const IMAGE = "application/vnd.oci.image.manifest.v1+json";
const EMPTY = "application/vnd.oci.empty.v1+json";

// The libraries. Each sends a request and resolves to its answer: status, header, a function from a
// name to the values of the fields joined with commas, and body, a Buffer.

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const libraries = {
  http: (method, url, headers, body) =>
    new Promise((resolve, reject) => {
      const request = http.request(url, { method, headers, agent }, async (response) => {
        try {
          const chunks = await response.toArray();
          const header = (name) => response.headersDistinct[name.toLowerCase()]?.join(", ");
          resolve({ status: response.statusCode, header, body: Buffer.concat(chunks) });
        } catch (error) {
          reject(error);
        }
      });
      request.on("error", reject);
      request.end(body);
    }),

  fetch: async (method, url, headers, body) => {
    const response = await fetch(url, { method, headers, body, redirect: "error" });
    const header = (name) => response.headers.get(name) ?? undefined;
    return { status: response.status, header, body: Buffer.from(await response.arrayBuffer()) };
  },
};

const [library, base, user, namespace] = process.argv.slice(2);
const send = libraries[library];
const password = readFileSync(0, "utf8");
let token;

// request sends a request; after a 401 it sends it again, with a token for the challenge.
async function request(status, method, path, headers = {}, body = undefined) {
  const url = new URL(path, base);
  const attempt = () => send(method, url, token ? { ...headers, Authorization: `Bearer ${token}` } : headers, body);
  let answer = await attempt();
  if (answer.status === 401) {
    token = await logIn(answer.header("WWW-Authenticate"));
    answer = await attempt();
  }
  assert.equal(answer.status, status, `${method} ${path}: ${answer.body.subarray(0, 500)}`);
  return answer;
}

async function logIn(challenge) {
  assert.match(challenge, /^Bearer /);
  const { realm, ...parameters } = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((m) => m.slice(1)));
  const url = new URL(realm);
  for (const name of ["service", "scope"]) {
    if (parameters[name]) url.searchParams.set(name, parameters[name]);
  }
  const Authorization = "Basic " + Buffer.from(`${user}:${password}`).toString("base64");
  const answer = await send("GET", url, { Authorization });
  assert.equal(answer.status, 200, String(answer.body));
  return JSON.parse(answer.body).token;
}

// pages returns the elements of all pages of a list, and the number of pages.
async function pages(path, key) {
  const found = [];
  let n = 0;
  for (; path; n++) {
    const answer = await request(200, "GET", path);
    found.push(...JSON.parse(answer.body)[key]);
    path = answer.header("Link")?.match(/^<([^<>]*)>; rel="next"$/)[1];
  }
  return [found, n];
}

const digestOf = (content) => "sha256:" + createHash("sha256").update(content).digest("hex");

async function pushBlob(repo, content) {
  const opened = await request(202, "POST", `/v2/${repo}/blobs/uploads/`);
  const place = new URL(opened.header("Location"), base);
  const digest = digestOf(content);
  place.searchParams.set("digest", digest);
  const done = await request(201, "PUT", place, { "Content-Type": "application/octet-stream" }, content);
  assert.equal(done.header("Docker-Content-Digest"), digest);
  return digest;
}

async function pushManifest(repo, content, tags = []) {
  const payload = JSON.stringify({ schemaVersion: 2, mediaType: IMAGE, ...content });
  const digest = digestOf(payload);
  const query = new URLSearchParams(tags.map((tag) => ["tag", tag]));
  const answer = await request(201, "PUT", `/v2/${repo}/manifests/${digest}?${query}`, { "Content-Type": IMAGE }, payload);
  return { digest, payload, answer };
}

async function readBlob(repo, digest, content) {
  const path = `/v2/${repo}/blobs/${digest}`;
  const whole = await request(200, "GET", path);
  assert.deepEqual(whole.body, content);
  assert.equal(whole.header("Content-Length"), String(content.length));
  const head = await request(200, "HEAD", path);
  assert.deepEqual([head.body.length, head.header("Content-Length")], [0, String(content.length)]);
  assert.equal((await request(304, "GET", path, { "If-None-Match": whole.header("ETag") })).body.length, 0);
  const ranges = { "5-99": content.subarray(5, 100), "-10": content.subarray(-10), "500-": content.subarray(500) };
  for (const [range, part] of Object.entries(ranges)) {
    assert.deepEqual((await request(206, "GET", path, { Range: `bytes=${range}` })).body, part);
  }
  const beyond = await request(416, "GET", path, { Range: `bytes=${content.length}-` });
  assert.equal(beyond.header("Content-Range"), `bytes */${content.length}`);
}

async function readReferrers(repo, subject, config, kind) {
  const pushed = [];
  for (const [i, artifactType] of [kind, kind, "application/vnd.example.other"].entries()) {
    const artifact = { artifactType, config, layers: [config], subject, annotations: { number: String(i) } };
    const { digest, answer } = await pushManifest(repo, artifact);
    assert.equal(answer.header("OCI-Subject"), subject.digest);
    pushed.push(`${digest} ${artifactType}`);
  }
  const path = `/v2/${repo}/referrers/${subject.digest}`;
  const [found] = await pages(path, "manifests");
  assert.deepEqual(found.map((d) => `${d.digest} ${d.artifactType}`), pushed.sort());
  const filtered = `${path}?n=1&${new URLSearchParams({ artifactType: kind })}`;
  assert.equal((await request(200, "GET", filtered)).header("OCI-Filters-Applied"), "artifactType");
  const [some, n] = await pages(filtered, "manifests");
  assert.deepEqual([some.map((d) => d.artifactType), n], [[kind, kind], 2]);
}

const repo = (namespace + "/" + "long/".repeat(60)).slice(0, 254) + "x";
const content = Buffer.from(Array.from({ length: 1024 }, (_, i) => i % 256));
const blob = await pushBlob(repo, content);
const empty = await pushBlob(repo, Buffer.from("{}"));
await readBlob(repo, blob, content);

const config = { mediaType: EMPTY, digest: empty, size: 2 };
const layer = { mediaType: "application/octet-stream", digest: blob, size: content.length };
const tags = Array.from({ length: 50 }, (_, i) => String(i).padStart(2, "0").padEnd(128, "x"));
const image = await pushManifest(repo, { config, layers: [layer] }, tags);
assert.deepEqual(image.answer.header("OCI-Tag").split(", "), tags);
assert.equal(String((await request(200, "GET", `/v2/${repo}/manifests/${tags[49]}`)).body), image.payload);
assert.deepEqual(await pages(`/v2/${repo}/tags/list?n=7`, "tags"), [tags, 8]);
const subject = { mediaType: IMAGE, digest: image.digest, size: image.payload.length };
await readReferrers(repo, subject, config, "x".repeat(127) + "/" + "x".repeat(127));

const mounted = await request(201, "POST", `/v2/${namespace}/b/blobs/uploads/?mount=${empty}&from=${repo}`);
assert.equal(mounted.header("Docker-Content-Digest"), empty);
await pushManifest(namespace + "/b", { config, layers: [config] }, ["v1"]);
const [names, n] = await pages("/v2/_catalog?n=1", "repositories");
assert.ok(names.includes(repo) && names.includes(namespace + "/b") && names.length === n, String(names));

const unknown = await request(404, "GET", `/v2/${repo}/manifests/none`);
assert.equal(JSON.parse(unknown.body).errors[0].code, "MANIFEST_UNKNOWN");

agent.destroy();
