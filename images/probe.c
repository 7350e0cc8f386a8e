/* One HTTP request to this container itself: what HEALTHCHECK and the smoke test run where no shell and no curl is.
 *
 *   probe [-p PORT] [-t SECONDS] [PATH [JSON]]
 *
 * GETs PATH from 127.0.0.1, or POSTs JSON to it; without PATH it connects, and that is all. PORT is $LLAMA_ARG_PORT by
 * default, then 8081. The body goes to standard output as it arrives; the status is 0 for 2xx, 1 for any other answer,
 * 2 if there was none. HTTP/1.0, so that the body is sent as it is and ends with the connection.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int usage(void) {
    static const char text[] = "usage: probe [-p PORT] [-t SECONDS] [PATH [JSON]]\n";
    return write(2, text, sizeof text - 1) < 0 ? 2 : 2;
}

static int failed(const char *what) {
    perror(what);
    return 2;
}

static int send_all(int to, const char *bytes, size_t left) {
    while (left > 0) {
        ssize_t sent = send(to, bytes, left, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        bytes += sent;
        left -= (size_t) sent;
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *named = getenv("LLAMA_ARG_PORT");
    int port = named && *named ? atoi(named) : 8081, seconds = 3, option;
    while ((option = getopt(argc, argv, "p:t:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 't') seconds = atoi(optarg);
        else return usage();
    }
    if (argc - optind > 2 || port < 1 || port > 65535 || seconds < 1) return usage();
    const char *path = argv[optind], *body = argc - optind == 2 ? argv[optind + 1] : NULL;

    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0) return failed("socket");
    struct timeval patience = {.tv_sec = seconds};
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct sockaddr_in self = {.sin_family = AF_INET, .sin_port = htons((unsigned short) port)};
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(server, (struct sockaddr *) &self, sizeof self) != 0) return failed("connect");
    if (argc == optind) return 0;

    char head[1024];
    int length = body
        ? snprintf(head, sizeof head, "POST %s HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                      "Content-Length: %zu\r\n\r\n", path, strlen(body))
        : snprintf(head, sizeof head, "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", path);
    if (length < 0 || (size_t) length >= sizeof head) return usage();
    if (send_all(server, head, (size_t) length) != 0) return failed("send");
    if (body && send_all(server, body, strlen(body)) != 0) return failed("send");

    /* The head of the answer is kept back until it is whole; llama-server's is a few hundred bytes. */
    static char answer[1 << 16];
    size_t held = 0;
    int status = 0;
    for (;;) {
        ssize_t got = recv(server, answer + held, sizeof answer - 1 - held, 0);
        if (got < 0) return failed("receive");
        if (got == 0) break;
        held += (size_t) got;
        answer[held] = 0;
        char *rest = status ? answer : strstr(answer, "\r\n\r\n");
        if (!rest) {
            if (held == sizeof answer - 1) return 2;
            continue;
        }
        if (!status) {
            if (sscanf(answer, "HTTP/%*s %d", &status) != 1) return 2;
            rest += 4;
        }
        for (const char *at = rest; at < answer + held;) {
            ssize_t written = write(1, at, (size_t) (answer + held - at));
            if (written <= 0) return failed("write");
            at += written;
        }
        held = 0;
    }
    return status == 0 ? 2 : status >= 200 && status < 300 ? 0 : 1;
}
