/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef BOLTSEAL_SOCK_H
#define BOLTSEAL_SOCK_H

#include "match.h"
#include "../lib/credentials.h"

/* Structures of the kernel that events show and filters look into. */

static __always_inline void read_addresses(struct sock_info *info, struct sock_common *common)
{
	info->source_port = BPF_CORE_READ(common, skc_num);
	info->target_port = __builtin_bswap16(BPF_CORE_READ(common, skc_dport));
	if (info->family == AF_INET) {
		info->source[0] = BPF_CORE_READ(common, skc_rcv_saddr);
		info->target[0] = BPF_CORE_READ(common, skc_daddr);
	} else if (info->family == AF_INET6) {
		BPF_CORE_READ_INTO(&info->source, common, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&info->target, common, skc_v6_daddr);
	}
}

static __always_inline int read_socket_state(struct sock_info *info, struct sock *sk)
{
	struct sock_common *common = &sk->__sk_common;

	if (!sk)
		return -1;
	info->family = BPF_CORE_READ(common, skc_family);
	info->state = BPF_CORE_READ(common, skc_state);
	info->type = BPF_CORE_READ(sk, sk_type);
	info->protocol = BPF_CORE_READ(sk, sk_protocol);
	info->mark = BPF_CORE_READ(sk, sk_mark);
	info->priority = BPF_CORE_READ(sk, sk_priority);
	info->cookie = BPF_CORE_READ(common, skc_cookie.counter);
	read_addresses(info, common);
	return 0;
}

struct socket_address {
	__u16 family;
	__u16 port; /* network byte order */
	__u32 ipv4; /* AF_INET6: the flow */
	__u64 ipv6[2];
};

static __always_inline int read_address(struct sock_info *info, const void *from, bool user)
{
	struct socket_address address = {};
	long err;

	/* The shorter of the two first: the other may end at the end of a page. */
	if (user)
		err = bpf_probe_read_user(&address, 8, from);
	else
		err = bpf_probe_read_kernel(&address, 8, from);
	if (err)
		return -1;
	info->family = address.family;
	if (address.family == AF_INET) {
		info->source_port = __builtin_bswap16(address.port);
		info->source[0] = address.ipv4;
	} else if (address.family == AF_INET6) {
		if (user)
			err = bpf_probe_read_user(&address, sizeof(address), from);
		else
			err = bpf_probe_read_kernel(&address, sizeof(address), from);
		if (err)
			return -1;
		info->source_port = __builtin_bswap16(address.port);
		info->source[0] = address.ipv6[0];
		info->source[1] = address.ipv6[1];
	}
	return 0;
}

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132

struct ipv4_header {
	__u8 version_length;
	__u8 tos;
	__u16 len, id, fragment;
	__u8 ttl, protocol;
	__u16 check;
	__u32 source, target;
};

struct ipv6_header {
	__u32 flow;
	__u16 len;
	__u8 next, hops;
	__u64 source[2], target[2];
};

static __always_inline int read_packet(struct sock_info *info, struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	void *network = head + BPF_CORE_READ(skb, network_header);
	void *transport = head + BPF_CORE_READ(skb, transport_header);
	__u16 protocol = __builtin_bswap16(BPF_CORE_READ(skb, protocol));
	struct ipv4_header ipv4;
	struct ipv6_header ipv6;
	__u16 ports[2] = {};

	if (!head)
		return -1;
	info->len = BPF_CORE_READ(skb, len);
	info->mark = BPF_CORE_READ(skb, mark);
	info->priority = BPF_CORE_READ(skb, priority);
	info->hash = BPF_CORE_READ(skb, hash);
	if (protocol == ETH_P_IP && !bpf_probe_read_kernel(&ipv4, sizeof(ipv4), network)) {
		info->family = AF_INET;
		info->protocol = ipv4.protocol;
		info->source[0] = ipv4.source;
		info->target[0] = ipv4.target;
	} else if (protocol == ETH_P_IPV6 && !bpf_probe_read_kernel(&ipv6, sizeof(ipv6), network)) {
		info->family = AF_INET6;
		info->protocol = ipv6.next;
		info->source[0] = ipv6.source[0];
		info->source[1] = ipv6.source[1];
		info->target[0] = ipv6.target[0];
		info->target[1] = ipv6.target[1];
	} else {
		return 0;
	}
	if (info->protocol == IPPROTO_TCP || info->protocol == IPPROTO_UDP || info->protocol == IPPROTO_SCTP)
		bpf_probe_read_kernel(&ports, sizeof(ports), transport);
	info->source_port = __builtin_bswap16(ports[0]);
	info->target_port = __builtin_bswap16(ports[1]);
	return 0;
}

/* Puts what a pointer's structure tells of addresses into a buffer. */
__noinline int read_sock(__u32 level, __u32 string, __u32 kind, __u64 pointer)
{
	struct evaluation *e = evaluation_get(level);
	struct sock_info *info;

	if (!e || string >= STRINGS_MAX)
		return -1;
	info = (void *)e->string[clamp_index(string, STRINGS_MAX)];
	__builtin_memset(info, 0, sizeof(*info));
	switch (kind) {
	case READ_SOCK:
		return read_socket_state(info, (struct sock *)pointer);
	case READ_SOCKET:
		return read_socket_state(info, BPF_CORE_READ((struct socket *)pointer, sk));
	case READ_SOCKADDR:
		return read_address(info, (void *)pointer, false);
	case READ_USER_SOCKADDR:
		return read_address(info, (void *)pointer, true);
	case READ_SKB:
		return read_packet(info, (struct sk_buff *)pointer);
	}
	return -1;
}

/* Puts what a pointer's credentials are into a buffer. */
__noinline int read_cred(__u32 level, __u32 string, __u64 pointer)
{
	struct evaluation *e = evaluation_get(level);
	const struct cred *cred = (const struct cred *)pointer;
	struct cred_info *info;

	if (!e || string >= STRINGS_MAX || !cred)
		return -1;
	info = (void *)e->string[clamp_index(string, STRINGS_MAX)];
	read_credentials(info, cred);
	return 0;
}

#endif
