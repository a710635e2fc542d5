package conformance

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	chartDir      = "../deploy/helm/berth"
	decodePackage = "./decode"
)

// chartMinimum are the values that the chart requires.
var chartMinimum = []string{"--set", "bucket=s3://images?region=eu-west-1", "--set", "database.url=postgres://berth@db/berth"}

// kubernetesObject is what the tests read of an object.
type kubernetesObject struct {
	Kind     string `json:"kind"`
	Metadata struct{ Name string }
	Data     map[string]string `json:"data"` // of a ConfigMap
	Spec     struct {
		Selector       json.RawMessage // of a Service the labels, of others an object with them
		ScaleTargetRef struct{ Kind, Name string }
		Template       struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
		Ports []struct{ TargetPort string }
	} `json:"spec"`
}

type podSpec struct {
	ServiceAccountName            string
	TerminationGracePeriodSeconds int
	Containers                    []struct {
		Args                                        []string
		SecurityContext                             struct{ ReadOnlyRootFilesystem bool }
		StartupProbe, LivenessProbe, ReadinessProbe struct {
			HTTPGet struct{ Path, Port, Scheme string }
		}
		Ports        []struct{ Name string }
		VolumeMounts []struct{ Name, MountPath string }
	}
	Volumes []struct{ Name string }
}

// TestChart renders the chart with few and with all values. It checks that Kubernetes knows every
// field, and that names and times agree.
func TestChart(t *testing.T) {
	helm := goClient(t, helmModule, helmPackage)
	for name, test := range map[string]struct {
		values []string
		kinds  []string
	}{
		"minimum": {chartMinimum, []string{"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}},
		"all": {[]string{"--values", "testdata/chart/all.yaml"}, []string{
			"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "PodDisruptionBudget", "Service", "ServiceAccount",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := renderChart(t, helm, test.values)
			if kinds := slices.Sorted(maps.Keys(objects)); !slices.Equal(kinds, test.kinds) {
				t.Fatalf("the objects are %q, want %q", kinds, test.kinds)
			}
			checkPods(t, objects)
			checkSelectors(t, objects)
		})
	}
}

// renderChart renders the chart and decodes its objects strictly. The chart has one of each kind.
func renderChart(t *testing.T, helm client, values []string) map[string]kubernetesObject {
	t.Helper()
	rendered := helm.run(append([]string{"template", "r", chartDir, "--kube-version", "1.31.0"}, values...)...)
	decode := goClient(t, helmModule, decodePackage)
	objects := map[string]kubernetesObject{}
	for line := range strings.Lines(decode.feed([]byte(rendered))) {
		var o kubernetesObject
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		objects[o.Kind] = o
	}
	return objects
}

// checkPods checks the pod against the settings that it mounts.
func checkPods(t *testing.T, objects map[string]kubernetesObject) {
	t.Helper()
	pod := objects["Deployment"].Spec.Template.Spec
	c := pod.Containers[0]
	if c.LivenessProbe.HTTPGet.Path != "/livez" || c.StartupProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("the probes are %+v, %+v, %+v", c.StartupProbe, c.LivenessProbe, c.ReadinessProbe)
	}
	if !c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root file system is writable")
	}
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v struct{ Name string }) bool { return v.Name == m.Name }) {
			t.Errorf("%s mounts %s, which is no volume", m.MountPath, m.Name)
		}
	}
	var settings chartSettings
	if err := yaml.Unmarshal([]byte(objects["ConfigMap"].Data["berth.yaml"]), &settings); err != nil {
		t.Fatal(err)
	}
	stop := settings.Shutdown.Delay + settings.Shutdown.Grace + settings.Shutdown.Record
	if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace <= stop {
		t.Errorf("the pod is killed after %v, its stop may take %v", grace, stop)
	}
	if https := settings.TLS.Certificate != ""; https != (c.ReadinessProbe.HTTPGet.Scheme == "HTTPS") {
		t.Errorf("TLS: %v, the probe uses %s", https, c.ReadinessProbe.HTTPGet.Scheme)
	}
}

// checkSelectors checks that the objects that select pods find those of the deployment.
func checkSelectors(t *testing.T, objects map[string]kubernetesObject) {
	t.Helper()
	labels := objects["Deployment"].Spec.Template.Metadata.Labels
	for kind, o := range objects {
		var selector map[string]string
		switch kind {
		case "Service":
			if err := json.Unmarshal(o.Spec.Selector, &selector); err != nil {
				t.Fatal(err)
			}
		case "Deployment", "PodDisruptionBudget":
			var s struct{ MatchLabels map[string]string }
			if err := json.Unmarshal(o.Spec.Selector, &s); err != nil {
				t.Fatal(err)
			}
			selector = s.MatchLabels
		case "HorizontalPodAutoscaler":
			if target := o.Spec.ScaleTargetRef; target.Kind != "Deployment" || target.Name != objects["Deployment"].Metadata.Name {
				t.Errorf("the autoscaler scales %+v", target)
			}
			continue
		default:
			continue
		}
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("%s selects %s=%s, the pods have %q", kind, key, value, labels[key])
			}
		}
		if len(selector) == 0 {
			t.Errorf("%s selects all pods", kind)
		}
	}
}

// chartSettings are some settings of the chart's berth.yaml.
type chartSettings struct {
	Shutdown struct{ Delay, Grace, Record time.Duration }
	TLS      struct{ Certificate string }
}

// TestChartRefuses checks that the chart refuses values that could not work, and says why.
func TestChartRefuses(t *testing.T) {
	helm := goClient(t, helmModule, helmPackage)
	for name, test := range map[string]struct {
		values []string
		want   string
	}{
		"nothing":          {nil, "'/bucket'"},
		"a directory":      {[]string{"--set", "bucket=file:///data"}, "'/bucket'"},
		"an unknown value": {[]string{"--set", "replica=3"}, "'replica'"},
		"no host":          {[]string{"--set", "ingress.enabled=true"}, "'/ingress/host'"},
		"a password":       {[]string{"--set", "database.url=postgres://berth:hunter2@db/berth"}, "database.passwordSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"template", "r", chartDir, "--kube-version", "1.31.0"}
			if test.values != nil {
				args = append(append(args, chartMinimum...), test.values...)
			}
			_, message, _ := strings.Cut(helm.fails(args...), "exit status") // before it stand the arguments
			if !strings.Contains(message, test.want) || strings.Contains(message, "hunter2") {
				t.Errorf("the error is %q, want one with %q", message, test.want)
			}
		})
	}
}
