"""Uses a registry as a script would, with one of Python's HTTP libraries, and checks what it reads.

    client.py http|urllib|requests URL USER NAMESPACE < password

It reads the answers with most header fields and the longest ones: http.client takes 100 fields and
lines of 64 KiB.
"""

import base64
import email.message
import hashlib
import http.client
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import requests

IMAGE = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


class Answer:
    """An answer: status, header (an email.message.Message) and body."""

    def __init__(self, status, header, body):
        self.status, self.header, self.body = status, header, body

    def expect(self, status):
        assert self.status == status, f"{self.status}, expected {status}: {self.body[:500]}"
        return self

    def next(self):
        """The URL of the next page, or None."""
        link = re.fullmatch(r'<([^<>]*)>; rel="next"', self.header.get("Link", ""))
        return link and link[1]


class Http:
    """http.client, with one connection for all requests."""

    def __init__(self, base):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc)

    def __call__(self, method, url, header, body):
        parts = urllib.parse.urlsplit(url)
        target = parts.path + ("?" + parts.query if parts.query else "")
        self.connection.request(method, target, body, header)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())


class Urllib:
    """urllib.request, which raises an error for each status that is not 2xx."""

    def __init__(self, base):
        pass

    def __call__(self, method, url, header, body):
        request = urllib.request.Request(url, body, header, method=method)
        try:
            response = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Answer(response.status, response.headers, response.read())


class Requests:
    """The package requests."""

    def __init__(self, base):
        self.session = requests.Session()

    def __call__(self, method, url, header, body):
        response = self.session.request(method, url, headers=header, data=body, allow_redirects=False)
        fields = email.message.Message()
        for name, value in response.raw.headers.iteritems():  # response.headers joins the values
            fields.add_header(name, value)
        answer = Answer(response.status_code, fields, response.content)
        assert response.links.get("next", {}).get("url") == answer.next(), response.links
        return answer


class Registry:
    """A registry at a URL, used with a user's password."""

    def __init__(self, library, base, user, password):
        self.send, self.base, self.user, self.password = library(base), base, user, password
        self.token = ""

    def do(self, method, path, body=None, **header):
        """Sends a request; after a 401 it sends it again, with a token for the challenge."""
        url = urllib.parse.urljoin(self.base, path)
        header = {name.replace("_", "-"): value for name, value in header.items()}
        for last in False, True:
            if self.token:
                header["Authorization"] = "Bearer " + self.token
            answer = self.send(method, url, header, body)
            if answer.status != 401 or last:
                return answer
            self.log_in(answer.header["WWW-Authenticate"])

    def log_in(self, challenge):
        scheme, parameters = challenge.split(" ", 1)
        assert scheme == "Bearer", challenge
        c = urllib.request.parse_keqv_list(urllib.request.parse_http_list(parameters))
        query = urllib.parse.urlencode({name: c[name] for name in ("service", "scope") if name in c})
        basic = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        answer = self.send("GET", c["realm"] + "?" + query, {"Authorization": basic}, None).expect(200)
        self.token = json.loads(answer.body)["token"]

    def pages(self, path, key):
        """Returns the elements of all pages of a list, and the number of pages."""
        found, n = [], 0
        while path:
            answer = self.do("GET", path).expect(200)
            found += json.loads(answer.body)[key]
            path, n = answer.next(), n + 1
        return found, n

    def push_blob(self, repo, content):
        opened = self.do("POST", f"/v2/{repo}/blobs/uploads/").expect(202)
        place = urllib.parse.urljoin(self.base, opened.header["Location"])
        digest = digest_of(content)
        place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": digest})
        done = self.do("PUT", place, content, Content_Type="application/octet-stream").expect(201)
        assert done.header["Docker-Content-Digest"] == digest, done.header
        return digest

    def push_manifest(self, repo, content, tags=()):
        payload = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, **content}).encode()
        digest = digest_of(payload)
        path = f"/v2/{repo}/manifests/{digest}?" + urllib.parse.urlencode([("tag", t) for t in tags])
        return digest, payload, self.do("PUT", path, payload, Content_Type=IMAGE).expect(201)


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def read_blob(r, repo, digest, content):
    path = f"/v2/{repo}/blobs/{digest}"
    whole = r.do("GET", path).expect(200)
    assert whole.body == content and int(whole.header["Content-Length"]) == len(content), whole.header
    head = r.do("HEAD", path).expect(200)
    assert head.body == b"" and int(head.header["Content-Length"]) == len(content), head.header
    assert r.do("GET", path, If_None_Match=whole.header["ETag"]).expect(304).body == b""
    for wanted, part in ("5-99", content[5:100]), ("-10", content[-10:]), ("500-", content[500:]):
        answer = r.do("GET", path, Range="bytes=" + wanted).expect(206)
        assert answer.body == part, answer.header["Content-Range"]
    answer = r.do("GET", path, Range="bytes=65-66,90-90").expect(206)
    multipart = b"Content-Type: %s\r\n\r\n" % answer.header["Content-Type"].encode() + answer.body
    parts = email.message_from_bytes(multipart).get_payload()
    assert [part.get_payload() for part in parts] == ["AB", "Z"], answer.body
    beyond = r.do("GET", path, Range=f"bytes={len(content)}-").expect(416)
    assert beyond.header["Content-Range"] == f"bytes */{len(content)}", beyond.header


def read_referrers(r, repo, subject, config, kind):
    pushed = {}
    for i, artifact in enumerate([kind, kind, "application/vnd.example.other"]):
        digest, _, answer = r.push_manifest(repo, {
            "artifactType": artifact, "config": config, "layers": [config], "subject": subject,
            "annotations": {"number": str(i)},
        })
        assert answer.header["OCI-Subject"] == subject["digest"], answer.header
        pushed[digest] = artifact
    path = f"/v2/{repo}/referrers/{subject['digest']}"
    found, _ = r.pages(path, "manifests")
    assert {d["digest"]: d["artifactType"] for d in found} == pushed, found
    filtered = path + "?n=1&" + urllib.parse.urlencode({"artifactType": kind})
    assert r.do("GET", filtered).expect(200).header["OCI-Filters-Applied"] == "artifactType"
    found, n = r.pages(filtered, "manifests")
    assert [d["artifactType"] for d in found] == [kind, kind] and n == 2, found


def main(library, base, user, namespace):
    r = Registry({"http": Http, "urllib": Urllib, "requests": Requests}[library], base, user, sys.stdin.read())
    assert r.send("GET", base + "/v2/", {}, None).expect(401).header["WWW-Authenticate"].startswith("Bearer ")

    repo = (namespace + "/" + "long/" * 60)[:254] + "x"
    content = bytes(range(256)) * 4
    blob, empty = r.push_blob(repo, content), r.push_blob(repo, b"{}")
    read_blob(r, repo, blob, content)

    config = {"mediaType": EMPTY, "digest": empty, "size": 2}
    layer = {"mediaType": "application/octet-stream", "digest": blob, "size": len(content)}
    tags = [f"{i:02}".ljust(128, "x") for i in range(50)]
    digest, payload, answer = r.push_manifest(repo, {"config": config, "layers": [layer]}, tags)
    assert answer.header.get_all("OCI-Tag") == tags, answer.header.get_all("OCI-Tag")
    assert r.do("GET", f"/v2/{repo}/manifests/{tags[49]}").expect(200).body == payload
    assert r.pages(f"/v2/{repo}/tags/list?n=7", "tags") == (tags, 8)
    read_referrers(r, repo, {"mediaType": IMAGE, "digest": digest, "size": len(payload)}, config,
                   "x" * 127 + "/" + "x" * 127)

    mounted = r.do("POST", f"/v2/{namespace}/b/blobs/uploads/?mount={empty}&from={repo}").expect(201)
    assert mounted.header["Docker-Content-Digest"] == empty, mounted.header
    r.push_manifest(namespace + "/b", {"config": config, "layers": [config]}, ["v1"])
    names, n = r.pages("/v2/_catalog?n=1", "repositories")
    assert {repo, namespace + "/b"} <= set(names) and n == len(names), names

    unknown = r.do("GET", f"/v2/{repo}/manifests/none").expect(404)
    assert json.loads(unknown.body)["errors"][0]["code"] == "MANIFEST_UNKNOWN", unknown.body


main(*sys.argv[1:])
