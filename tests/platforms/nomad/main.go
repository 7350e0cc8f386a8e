// Reads job files as Nomad does, and says what becomes of them, as JSON: strictly by Nomad's own types; the docker
// driver's words and images by HCL's reader, which interpolates them; env files by the reader that Nomad has for those,
// once Go's templates made them with the Variables that stand in the file given first.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/hashicorp/go-envparse"
	"github.com/hashicorp/hcl/v2"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/hashicorp/nomad/api"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

type item struct{ Value string }

type seen struct {
	Config map[string]json.RawMessage
	Env    map[string]string
	Files  map[string]string
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func strictly(file string, into any) {
	content, err := os.Open(file)
	must(err)
	reader := json.NewDecoder(content)
	reader.DisallowUnknownFields()
	must(reader.Decode(into))
}

func config(task *api.Task) map[string]json.RawMessage {
	text, err := json.Marshal(task.Config)
	must(err)
	file, problems := hcljson.Parse(text, "config")
	if problems.HasErrors() {
		must(problems)
	}
	attributes, problems := file.Body.JustAttributes()
	if problems.HasErrors() {
		must(problems)
	}
	known := &hcl.EvalContext{Variables: map[string]cty.Value{"NOMAD_TASK_NAME": cty.StringVal("interpolated")}}
	found := map[string]json.RawMessage{}
	for name, attribute := range attributes {
		value, problems := attribute.Expr.Value(known)
		if problems.HasErrors() {
			must(problems)
		}
		found[name], err = ctyjson.Marshal(value, value.Type())
		must(err)
	}
	return found
}

func main() {
	variables := map[string]map[string]item{}
	strictly(os.Args[1], &variables)
	answers := map[string]map[string]seen{}
	for _, file := range os.Args[2:] {
		read := struct{ Job *api.Job }{}
		strictly(file, &read)
		job := read.Job
		job.Canonicalize()
		answers[*job.ID] = map[string]seen{}
		for _, group := range job.TaskGroups {
			for _, task := range group.Tasks {
				answer := seen{config(task), task.Env, map[string]string{}}
				if answer.Env == nil {
					answer.Env = map[string]string{}
				}
				for _, each := range task.Templates {
					text := strings.Builder{}
					functions := template.FuncMap{
						"nomadVar": func(path string) map[string]item { return variables[path] },
						"toJSON": func(value string) (string, error) {
							made, err := json.Marshal(value)
							return string(made), err
						},
					}
					made, err := template.New("").Funcs(functions).Parse(*each.EmbeddedTmpl)
					must(err)
					must(made.Execute(&text, nil))
					if each.Envvars == nil || !*each.Envvars {
						answer.Files[*each.DestPath] = text.String()
						continue
					}
					env, err := envparse.Parse(strings.NewReader(text.String()))
					must(err)
					for name, value := range env {
						answer.Env[name] = value
					}
				}
				answers[*job.ID][task.Name] = answer
			}
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(answers))
}
