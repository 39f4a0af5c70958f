package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"
)

// How long a request may take, and a task of the node.
const (
	requestLimit = 60 * time.Second
	taskLimit    = 5 * time.Minute
	taskPause    = 50 * time.Millisecond
)

// errGone says that there is no such guest on the node.
var errGone = errors.New("it is not on the node")

// A node of Proxmox VE behind its API.
type node struct {
	endpoint, token string
	client          http.Client
	// Held from the choice of a number until its guest is there.
	numbering sync.Mutex
}

func newNode(endpoint, token string, insecure bool) *node {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}}
	client := http.Client{Timeout: requestLimit, Transport: transport}
	return &node{endpoint: strings.TrimRight(endpoint, "/"), token: token, client: client}
}

// call asks the API and reads what it answers into data, which may be nil.
func (n *node) call(ctx context.Context, method, path string, parameters url.Values, data any) error {
	address, body := n.endpoint+"/api2/json/"+path, ""
	if method == http.MethodGet || method == http.MethodDelete {
		address += "?" + parameters.Encode()
	} else {
		body = parameters.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "PVEAPIToken="+n.token)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := n.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Data    json.RawMessage `json:"data"`
		Message string          `json:"message"`
	}{}
	parsed := json.Unmarshal(text, &answer)
	switch {
	case strings.Contains(answer.Message, "does not exist"):
		return fmt.Errorf("%w: %s", errGone, answer.Message)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(answer.Message))
	case parsed != nil:
		return fmt.Errorf("%s %s: %w", method, path, parsed)
	case data == nil || len(answer.Data) == 0:
		return nil
	}
	return json.Unmarshal(answer.Data, data)
}

// do starts a task and waits for its end.
func (n *node) do(ctx context.Context, on, method, path string, parameters url.Values) error {
	var upid *string
	if err := n.call(ctx, method, path, parameters, &upid); err != nil || upid == nil {
		return err
	}
	task := fmt.Sprintf("nodes/%s/tasks/%s/", on, url.PathEscape(*upid))
	for deadline := time.Now().Add(taskLimit); time.Now().Before(deadline); time.Sleep(taskPause) {
		status := struct{ Status, Exitstatus string }{}
		if err := n.call(ctx, http.MethodGet, task+"status", nil, &status); err != nil {
			return err
		}
		if status.Status != "stopped" {
			continue
		}
		if status.Exitstatus == "OK" || strings.HasPrefix(status.Exitstatus, "WARNINGS") {
			return nil
		}
		return fmt.Errorf("task %s: %s", *upid, status.Exitstatus)
	}
	return fmt.Errorf("task %s did not end within %s", *upid, taskLimit)
}

// A guest on a node: its kind is "lxc" or "qemu".
type guest struct {
	*node
	on, kind string
	id       int64
}

func (g guest) path(rest string) string {
	path := fmt.Sprintf("nodes/%s/%s/%d", g.on, g.kind, g.id)
	return strings.TrimRight(path+"/"+rest, "/")
}

// config is errGone where there is no such guest.
func (g guest) config(ctx context.Context) (map[string]any, error) {
	config := map[string]any{}
	err := g.call(ctx, http.MethodGet, g.path("config"), nil, &config)
	return config, err
}

func (g guest) set(ctx context.Context, settings url.Values) error {
	return g.do(ctx, g.on, http.MethodPut, g.path("config"), settings)
}

func (g guest) isRunning(ctx context.Context) (bool, error) {
	state := struct{ Status string }{}
	err := g.call(ctx, http.MethodGet, g.path("status/current"), nil, &state)
	return state.Status == "running", err
}

// power starts or stops the guest, where it is not so already.
func (g guest) power(ctx context.Context, on bool) error {
	running, err := g.isRunning(ctx)
	if err != nil || running == on {
		return err
	}
	word := map[bool]string{true: "start", false: "stop"}[on]
	return g.do(ctx, g.on, http.MethodPost, g.path("status/"+word), nil)
}

func (g guest) destroy(ctx context.Context) error {
	if err := g.power(ctx, false); errors.Is(err, errGone) {
		return nil
	} else if err != nil {
		return err
	}
	return g.do(ctx, g.on, http.MethodDelete, g.path(""), url.Values{"purge": {"1"}})
}

// number gives a new guest a number, where it has none, and lets create make it.
func (n *node) number(ctx context.Context, id *types.Int64, create func() error) error {
	if !id.IsUnknown() {
		return create()
	}
	n.numbering.Lock()
	defer n.numbering.Unlock()
	var next json.Number
	if err := n.call(ctx, http.MethodGet, "cluster/nextid", nil, &next); err != nil {
		return err
	}
	number, err := next.Int64()
	if err != nil {
		return err
	}
	*id = types.Int64Value(number)
	return create()
}
