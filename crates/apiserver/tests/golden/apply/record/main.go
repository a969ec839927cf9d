package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/structured-merge-diff/fieldpath"
	"sigs.k8s.io/structured-merge-diff/merge"
	"sigs.k8s.io/structured-merge-diff/typed"
)

const schemaYAML = `types:
- name: root
  map:
    fields:
    - name: apiVersion
      type: {scalar: string}
    - name: kind
      type: {scalar: string}
    - name: metadata
      type:
        map:
          fields:
          - name: name
            type: {scalar: string}
          - name: labels
            type: {map: {elementType: {scalar: string}}}
    - name: spec
      type: {namedType: spec}
- name: spec
  map:
    fields:
    - name: a
      type: {scalar: string}
    - name: nested
      type: {map: {fields: [{name: x, type: {scalar: string}}, {name: "y", type: {scalar: string}}]}}
    - name: open
      type: {namedType: __untyped_deduced_}
    - name: atomicMap
      type: {map: {elementType: {scalar: string}, elementRelationship: atomic}}
    - name: words
      type: {map: {elementType: {scalar: string}}}
    - name: list
      type: {list: {elementType: {scalar: string}, elementRelationship: atomic}}
    - name: set
      type: {list: {elementType: {scalar: string}, elementRelationship: associative}}
    - name: ports
      type:
        list:
          elementRelationship: associative
          keys: [port, protocol]
          elementType: {namedType: port}
- name: port
  map:
    fields:
    - {name: port, type: {scalar: numeric}}
    - {name: protocol, type: {scalar: string}, default: TCP}
    - {name: name, type: {scalar: string}}
    - {name: words, type: {map: {elementType: {scalar: string}}}}
- name: __untyped_atomic_
  scalar: untyped
  list: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
  map: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
- name: __untyped_deduced_
  scalar: untyped
  list: {elementType: {namedType: __untyped_atomic_}, elementRelationship: atomic}
  map: {elementType: {namedType: __untyped_deduced_}, elementRelationship: separable}
`

type conv struct{}

func (conv) Convert(o *typed.TypedValue, v fieldpath.APIVersion) (*typed.TypedValue, error) { return o, nil }
func (conv) IsMissingVersionError(error) bool                                               { return false }

type Op struct {
	Op      string      `json:"op"`
	Manager string      `json:"manager"`
	Force   bool        `json:"force,omitempty"`
	Object  interface{} `json:"object"`
	// filled here
	Conflicts []string               `json:"conflicts,omitempty"`
	Error     string                 `json:"error,omitempty"`
	Result    interface{}            `json:"result"`
	Owners    map[string]interface{} `json:"owners"`
}

func main() {
	p, err := typed.NewParser(schemaYAML)
	if err != nil {
		panic(err)
	}
	t := p.Type("root")
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	dec := json.NewDecoder(in)
	out := json.NewEncoder(os.Stdout)
	for {
		var ops []*Op
		if err := dec.Decode(&ops); err != nil {
			return
		}
		u := merge.Updater{Converter: conv{}}
		live, _ := t.FromUnstructured(map[string]interface{}{})
		managers := fieldpath.ManagedFields{}
		for _, op := range ops {
			obj, err := t.FromUnstructured(op.Object)
			if err != nil {
				op.Error = err.Error()
				op.Owners = nil
				continue
			}
			if op.Op == "apply" {
				res, m, err := u.Apply(live, obj, "v1", managers.Copy(), op.Manager+" Apply", op.Force)
				if err != nil {
					if cs, ok := err.(merge.Conflicts); ok {
						for _, c := range cs {
							op.Conflicts = append(op.Conflicts, fmt.Sprintf("%s %s", c.Manager, c.Path))
						}
					} else {
						op.Error = err.Error()
					}
				} else {
					managers = m
					if res != nil {
						live = res
					}
				}
			} else {
				res, m, err := u.Update(live, obj, "v1", managers.Copy(), "current-operation")
				if err != nil {
					op.Error = err.Error()
				} else {
					if vs, ok := m["current-operation"]; ok {
						delete(m, "current-operation")
						id := op.Manager + " Update"
						if prev, ok := m[id]; ok {
							m[id] = fieldpath.NewVersionedSet(vs.Set().Union(prev.Set()), vs.APIVersion(), false)
						} else {
							m[id] = vs
						}
					}
					managers, live = m, res
				}
			}
			op.Result = live.AsValue().Unstructured()
			op.Owners = map[string]interface{}{}
			for id, vs := range managers {
				b, err := vs.Set().ToJSON()
				if err != nil {
					panic(err)
				}
				var x interface{}
				json.Unmarshal(b, &x)
				op.Owners[id] = x
			}
		}
		out.Encode(ops)
	}
}

