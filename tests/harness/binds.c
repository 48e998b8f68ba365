/* Binds sockets in every way that rebind.so must know about, and checks what comes of it.
   Arguments: the port that is moved, and the one that it moves to. Says "ok" if all is as it should be. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what)                                                        \
  do {                                                                     \
    if (!(what)) {                                                         \
      fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #what, errno); \
      _exit(1);                                                            \
    }                                                                      \
  } while (0)

static int old_port, new_port;

static int bind_v4(int type, const char *host, int port, struct sockaddr_in *bound) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  socklen_t length = sizeof *bound;
  int fd = socket(AF_INET, type, 0);
  CHECK(inet_pton(AF_INET, host, &address.sin_addr) == 1);
  errno = 77;
  CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(errno == 77);
  CHECK(getsockname(fd, (struct sockaddr *)bound, &length) == 0);
  return fd;
}

static int bind_v6(int only, socklen_t given, struct sockaddr_in6 *bound) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(old_port)};
  socklen_t length = sizeof *bound;
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0);
  errno = 77;
  CHECK(bind(fd, (struct sockaddr *)&address, given) == 0);
  CHECK(errno == 77);
  CHECK(getsockname(fd, (struct sockaddr *)bound, &length) == 0);
  return fd;
}

static void check_moved(void) {
  struct sockaddr_in bound;
  struct sockaddr_in6 bound6;
  close(bind_v4(SOCK_STREAM, "0.0.0.0", old_port, &bound));
  CHECK(ntohs(bound.sin_port) == new_port && bound.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  close(bind_v4(SOCK_STREAM, "127.0.0.2", old_port, &bound));
  CHECK(ntohs(bound.sin_port) == new_port && bound.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  close(bind_v6(1, sizeof bound6, &bound6));
  CHECK(ntohs(bound6.sin6_port) == new_port && IN6_IS_ADDR_LOOPBACK(&bound6.sin6_addr));
  close(bind_v6(1, 24, &bound6));
  CHECK(ntohs(bound6.sin6_port) == new_port && IN6_IS_ADDR_LOOPBACK(&bound6.sin6_addr));
  close(bind_v6(0, sizeof bound6, &bound6));
  CHECK(ntohs(bound6.sin6_port) == new_port && IN6_IS_ADDR_V4MAPPED(&bound6.sin6_addr));
}

static void check_others(void) {
  struct sockaddr_in bound;
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  int fd, reuse = 7;
  socklen_t length = sizeof reuse;
  fd = bind_v4(SOCK_STREAM, "127.0.0.1", 0, &bound);
  CHECK(ntohs(bound.sin_port) != new_port);
  CHECK(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &length) == 0 && reuse == 0);
  close(fd);
  /* A datagram socket has a port of its own. */
  close(bind_v4(SOCK_DGRAM, "127.0.0.1", old_port, &bound));
  CHECK(ntohs(bound.sin_port) == old_port);
  /* An abstract name whose bytes look like the port. */
  fd = socket(AF_UNIX, SOCK_STREAM, 0);
  memcpy(path.sun_path + 1, "rebind-test", 11);
  CHECK(bind(fd, (struct sockaddr *)&path, offsetof(struct sockaddr_un, sun_path) + 12) == 0);
  close(fd);
}

static void check_errors(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(old_port)};
  struct sockaddr_in bound;
  struct sockaddr *any = (struct sockaddr *)&address;
  int first, fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(-1, any, sizeof address) == -1 && errno == EBADF);
  CHECK(bind(STDERR_FILENO, any, sizeof address) == -1 && errno == ENOTSOCK);
  CHECK(bind(fd, any, 4) == -1 && errno == EINVAL);
  CHECK(bind(fd, any, 0) == -1 && errno == EINVAL);
  CHECK(syscall(SYS_bind, fd, NULL, sizeof address) == -1 && errno == EFAULT);
  first = bind_v4(SOCK_STREAM, "0.0.0.0", old_port, &bound);
  CHECK(listen(first, 1) == 0);
  CHECK(bind(fd, any, sizeof address) == -1 && errno == EADDRINUSE);
  close(first);
  close(fd);
}

static void *in_thread(void *unused) {
  for (int i = 0; i < 50; i++) check_moved();
  return unused;
}

static void check_threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, in_thread, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void check_children(void) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    check_moved();
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  child = vfork();
  if (child == 0) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(old_port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    _exit(bind(fd, (struct sockaddr *)&address, sizeof address) != 0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* A program may take its own environment apart, and forbid itself the calls that it has no use for. */
static void check_confined(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_open, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_brk, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  CHECK(clearenv() == 0);
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  check_moved();
}

int main(int count, char **words) {
  int confined = count == 4;
  CHECK(count >= 3);
  old_port = atoi(words[1]);
  new_port = atoi(words[2]);
  check_moved();
  check_others();
  check_errors();
  check_threads();
  check_children();
  if (confined) {
    (void)!write(STDOUT_FILENO, "ok\n", 3);
    check_confined();
    _exit(0);
  }
  puts("ok");
  return 0;
}
