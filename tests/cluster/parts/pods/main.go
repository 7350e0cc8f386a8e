// What runs in the pods of tests: as `pause` it holds a pod's namespaces, as `web ask URL` it tells what is answered
// there, else it is a small web service.
package main

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	if filepath.Base(os.Args[0]) == "pause" {
		<-ended
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "ask" {
		os.Exit(ask(os.Args[2]))
	}
	fmt.Println("begins, version", os.Getenv("VERSION"))
	if why := os.Getenv("CRASH"); why != "" {
		fmt.Println(why)
		os.Exit(1)
	}
	if other := os.Getenv("NEEDS"); other != "" { // HOST:PORT
		connection, err := net.DialTimeout("tcp", other, 2*time.Second)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		connection.Close()
	}
	late, _ := time.ParseDuration(os.Getenv("LATE"))
	status := 200
	if said, err := strconv.Atoi(os.Getenv("STATUS")); err == nil {
		status = said
	}
	fails, _ := strconv.ParseFloat(os.Getenv("FAILS"), 64) // share of the requests
	slow, _ := time.ParseDuration(os.Getenv("SLOW"))
	http.HandleFunc("/", func(answer http.ResponseWriter, asked *http.Request) {
		if held, err := time.ParseDuration(asked.URL.Query().Get("for")); err == nil {
			time.Sleep(held)
		}
		code := status
		if asked.URL.Path == "/alive" {
			code = 200
		} else {
			time.Sleep(slow)
			if rand.Float64() < fails {
				code = 500
			}
		}
		answer.WriteHeader(code)
		fmt.Fprint(answer, os.Getenv("VERSION"))
		fmt.Println("asked for", asked.URL.Path)
	})
	go func() {
		time.Sleep(late)
		fmt.Println(http.ListenAndServe(":"+os.Args[1], nil))
		os.Exit(1)
	}()
	<-ended
}

func ask(url string) int {
	client := http.Client{Timeout: 3 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	fmt.Println(answer.StatusCode, string(body))
	return 0
}
