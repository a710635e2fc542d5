// Program decode reads Kubernetes objects as YAML from standard input and writes each as a line of
// JSON. It refuses kinds and fields that Kubernetes does not know.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := decode(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func decode(from io.Reader, to io.Writer) error {
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewYAMLReader(bufio.NewReader(from))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		object, _, err := strict.Decode(document, nil, nil)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(to).Encode(object); err != nil {
			return err
		}
	}
}
