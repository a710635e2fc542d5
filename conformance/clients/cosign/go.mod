module github.com/berth-registry/berth/conformance/clients/cosign

go 1.26.0
