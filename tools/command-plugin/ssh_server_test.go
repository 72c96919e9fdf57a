package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshServer runs the commands it is sent in a local shell, accepts the environment variables in accepted, and forwards connections.
type sshServer struct {
	port     float64
	keys     []ssh.Signer
	login    string // the private key that it lets in, PEM
	accepted map[string]bool
	refuse   atomic.Int32 // so many connections are closed before it greets
	seen     atomic.Int32 // connections that came
	open     sync.WaitGroup
}

func hostKey(t *testing.T, kind string) ssh.Signer {
	t.Helper()
	var key any
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func startServer(t *testing.T, keyKinds ...string) *sshServer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	login, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	server := &sshServer{login: string(pem.EncodeToMemory(block)), accepted: map[string]bool{}}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.PublicKey().Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	for _, kind := range keyKinds {
		key := hostKey(t, kind)
		server.keys = append(server.keys, key)
		config.AddHostKey(key)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.port = float64(listener.Addr().(*net.TCPAddr).Port)
	t.Cleanup(func() { _ = listener.Close(); server.open.Wait() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server.seen.Add(1)
			if server.refuse.Add(-1) >= 0 {
				_ = conn.Close()
				continue
			}
			server.open.Add(1)
			go func() { defer server.open.Done(); server.serve(conn, config) }()
		}
	}()
	return server
}

func (s *sshServer) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		switch offered.ChannelType() {
		case "session":
			channel, requests, err := offered.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			go func() { defer s.open.Done(); s.session(channel, requests) }()
		case "direct-tcpip":
			var target struct {
				Host       string
				Port       uint32
				OriginHost string
				OriginPort uint32
			}
			_ = ssh.Unmarshal(offered.ExtraData(), &target)
			out, err := net.Dial("tcp", net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port))))
			if err != nil {
				_ = offered.Reject(ssh.ConnectionFailed, err.Error())
				continue
			}
			channel, requests, err := offered.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			go func() { _, _ = io.Copy(out, channel); _ = out.Close() }()
			go func() { _, _ = io.Copy(channel, out); _ = channel.Close() }()
		default:
			_ = offered.Reject(ssh.UnknownChannelType, "")
		}
	}
}

func (s *sshServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	var environ []string
	for request := range requests {
		switch request.Type {
		case "env":
			var variable struct{ Name, Value string }
			_ = ssh.Unmarshal(request.Payload, &variable)
			if s.accepted[variable.Name] {
				environ = append(environ, variable.Name+"="+variable.Value)
			}
			_ = request.Reply(s.accepted[variable.Name], nil)
		case "exec":
			var command struct{ Line string }
			_ = ssh.Unmarshal(request.Payload, &command)
			_ = request.Reply(true, nil)
			shell := exec.Command("/bin/sh", "-c", command.Line)
			shell.Env = append(environ, "PATH=/usr/bin:/bin")
			shell.Stdin, shell.Stdout, shell.Stderr = channel, channel, channel.Stderr()
			code := uint32(0)
			if err := shell.Run(); err != nil {
				code = uint32(shell.ProcessState.ExitCode())
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
			return
		default:
			_ = request.Reply(false, nil)
		}
	}
}

func (s *sshServer) pinned(key int) *string {
	line := string(ssh.MarshalAuthorizedKey(s.keys[key].PublicKey()))
	return &line
}

func (s *sshServer) endpoint() Endpoint {
	return Endpoint{Host: "127.0.0.1", Port: &s.port, PrivateKey: &s.login}
}
