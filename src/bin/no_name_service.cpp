// What a static binary may never do: ask glibc's name service, or load a shared object.
//
// Both would need, at run time, the very glibc that the binary was linked with, and a bare host has another one. The
// linker sends every reference to these functions here (--wrap, cmake/product.cmake), our libraries' references included,
// and each answers as if the name did not exist. Addresses are numeric here: whoever asks has resolved them before.
// tools/check_static.py fails the build when a function outside this list brings the name service back.

#include <cerrno>

#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/types.h>

#pragma GCC diagnostic ignored "-Wmissing-declarations"

namespace {

// For the functions that return an error number and leave the found entry in *result.
template <typename Entry>
int no_entry(Entry** result) {
  *result = nullptr;
  return 0;
}

// For the reentrant host functions, which have an error of their own besides.
int no_host(hostent** result, int* host_error) {
  *result = nullptr;
  *host_error = HOST_NOT_FOUND;
  return 0;
}

// For the functions that return a pointer, null when there is no such entry.
template <typename Entry>
Entry* none() {
  errno = 0;
  return nullptr;
}

}  // namespace

extern "C" {

int __wrap_getaddrinfo(const char*, const char*, const addrinfo*, addrinfo** result) {
  *result = nullptr;
  return EAI_NONAME;
}
void __wrap_freeaddrinfo(addrinfo*) {}
int __wrap_getnameinfo(const sockaddr*, socklen_t, char*, socklen_t, char*, socklen_t, int) { return EAI_NONAME; }

hostent* __wrap_gethostbyname(const char*) { return none<hostent>(); }
hostent* __wrap_gethostbyname2(const char*, int) { return none<hostent>(); }
hostent* __wrap_gethostbyaddr(const void*, socklen_t, int) { return none<hostent>(); }
int __wrap_gethostbyname_r(const char*, hostent*, char*, size_t, hostent** result, int* host_error) {
  return no_host(result, host_error);
}
int __wrap_gethostbyname2_r(const char*, int, hostent*, char*, size_t, hostent** result, int* host_error) {
  return no_host(result, host_error);
}
int __wrap_gethostbyaddr_r(const void*, socklen_t, int, hostent*, char*, size_t, hostent** result, int* host_error) {
  return no_host(result, host_error);
}

servent* __wrap_getservbyname(const char*, const char*) { return none<servent>(); }
servent* __wrap_getservbyport(int, const char*) { return none<servent>(); }
int __wrap_getservbyname_r(const char*, const char*, servent*, char*, size_t, servent** result) {
  return no_entry(result);
}
int __wrap_getservbyport_r(int, const char*, servent*, char*, size_t, servent** result) { return no_entry(result); }

protoent* __wrap_getprotobyname(const char*) { return none<protoent>(); }
int __wrap_getprotobyname_r(const char*, protoent*, char*, size_t, protoent** result) { return no_entry(result); }

passwd* __wrap_getpwuid(uid_t) { return none<passwd>(); }
passwd* __wrap_getpwnam(const char*) { return none<passwd>(); }
int __wrap_getpwuid_r(uid_t, passwd*, char*, size_t, passwd** result) { return no_entry(result); }
int __wrap_getpwnam_r(const char*, passwd*, char*, size_t, passwd** result) { return no_entry(result); }

group* __wrap_getgrgid(gid_t) { return none<group>(); }
group* __wrap_getgrnam(const char*) { return none<group>(); }
int __wrap_getgrgid_r(gid_t, group*, char*, size_t, group** result) { return no_entry(result); }
int __wrap_getgrnam_r(const char*, group*, char*, size_t, group** result) { return no_entry(result); }

int __wrap_getgrouplist(const char*, gid_t, gid_t*, int* count) {
  *count = 0;
  return -1;
}
int __wrap_initgroups(const char*, gid_t) {
  errno = ENOSYS;
  return -1;
}

void* __wrap_dlopen(const char*, int) { return nullptr; }
void* __wrap_dlmopen(long, const char*, int) { return nullptr; }
void* __wrap_dlsym(void*, const char*) { return nullptr; }
void* __wrap_dlvsym(void*, const char*, const char*) { return nullptr; }
int __wrap_dlclose(void*) { return -1; }
int __wrap_dladdr(const void*, void*) { return 0; }
char* __wrap_dlerror() {
  static char message[] = "this program is static and loads no shared objects";
  return message;
}

// glibc's own way to the same loader: character set modules and libgcc_s. Without them there is the C locale, and
// unwinding uses what is linked in.
void* __wrap___libc_dlopen_mode(const char*, int) { return nullptr; }
void* __wrap___libc_dlsym(void*, const char*) { return nullptr; }
void* __wrap___libc_dlvsym(void*, const char*, const char*) { return nullptr; }
int __wrap___libc_dlclose(void*) { return -1; }

}  // extern "C"
