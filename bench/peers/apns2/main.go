// SPDX-License-Identifier: Apache-2.0

// Driver for sideshow/apns2: one client a connection, one goroutine a request in flight. The contract: ../README.md.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sideshow/apns2"
	"golang.org/x/net/http2"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "apns2-driver:", err)
		os.Exit(1)
	}
}

func readLines(path string) []string {
	file, err := os.Open(path)
	check(err)
	defer file.Close()
	var lines []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func main() {
	endpoint := flag.String("endpoint", "", "host:port")
	ca := flag.String("ca", "", "trust anchors, PEM")
	cert := flag.String("cert", "", "push certificate, PEM")
	key := flag.String("key", "", "its key, PEM")
	topic := flag.String("topic", "", "apns-topic")
	tokenFile := flag.String("tokens", "", "device tokens, one a line")
	payloadFile := flag.String("payload", "", "the payload")
	requests := flag.Int64("requests", 0, "how many")
	connections := flag.Int64("connections", 1, "connections")
	streams := flag.Int("streams", 1, "requests in flight on each")
	flag.Parse()

	certificate, err := tls.LoadX509KeyPair(*cert, *key)
	check(err)
	pem, err := os.ReadFile(*ca)
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		check(fmt.Errorf("%s holds no certificate", *ca))
	}
	payload, err := os.ReadFile(*payloadFile)
	check(err)
	tokens := readLines(*tokenFile)

	var cipher atomic.Value
	apns2.DialTLS = func(network, addr string, config *tls.Config) (net.Conn, error) {
		connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, network, addr, config)
		if err == nil {
			cipher.Store(tls.CipherSuiteName(connection.ConnectionState().CipherSuite))
		}
		return connection, err
	}

	var accepted atomic.Int64
	var failure atomic.Value
	var all sync.WaitGroup
	for c := int64(0); c < *connections; c++ {
		client := apns2.NewClient(certificate)
		client.Host = "https://" + *endpoint
		transport := client.HTTPClient.Transport.(*http2.Transport)
		transport.TLSClientConfig.RootCAs = roots
		transport.StrictMaxConcurrentStreams = true // one connection a client
		left := *requests/(*connections) + boolean(c < *requests%(*connections))
		next := atomic.Int64{}
		share := &next
		for s := 0; s < *streams && int64(s) < left; s++ {
			all.Add(1)
			go func(offset int64) {
				defer all.Done()
				for {
					number := share.Add(1) - 1
					if number >= left {
						return
					}
					answer, err := client.Push(&apns2.Notification{
						DeviceToken: tokens[(offset+number*(*connections))%int64(len(tokens))],
						Topic:       *topic,
						Payload:     payload,
						Priority:    apns2.PriorityHigh,
						PushType:    apns2.PushTypeMDM,
					})
					if err != nil {
						failure.Store(err.Error())
						return
					}
					if answer.StatusCode == 200 {
						accepted.Add(1)
					}
				}
			}(c)
		}
	}
	all.Wait()
	if text := failure.Load(); text != nil {
		check(fmt.Errorf("%v", text))
	}
	result, err := json.Marshal(map[string]any{"accepted": accepted.Load(), "cipher": cipher.Load()})
	check(err)
	fmt.Println(string(result))
}

func boolean(value bool) int64 {
	if value {
		return 1
	}
	return 0
}
