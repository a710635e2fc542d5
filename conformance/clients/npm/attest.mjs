// Attaches the standard input to an image as an attestation, as the GitHub action of the same name
// does, and prints the descriptors of the image and the attestation.
//
//     attest.mjs IMAGE TAG MEDIA-TYPE < bundle

import { readFileSync } from "node:fs";
import { attachArtifactToImage, getImageDigest, getRegistryCredentials } from "@sigstore/oci";

const [imageName, imageTag, mediaType] = process.argv.slice(2);
const credentials = getRegistryCredentials(imageName);
const imageDigest = await getImageDigest({ imageName, imageTag, credentials });
const attestation = await attachArtifactToImage({
  imageName,
  imageDigest,
  credentials,
  mediaType,
  artifact: readFileSync(0),
  annotations: { "dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1" },
});
console.log(JSON.stringify({ imageDigest, attestation }));
