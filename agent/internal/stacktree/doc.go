// SPDX-License-Identifier: Apache-2.0

// Package stacktree counts the kernel's stacks that the events of policies had, and
// shows them as trees.
//
// What is kept is addresses, so that counting a stack costs a lookup. They are named
// when somebody asks for a tree, by the symbols that the kernel has then.
//
// Memory is bounded, for processes choose what is in it: so many stacks for a policy,
// so many labels for a stack, and so many bytes in all. What there is no room for is
// counted under the label [Other].
package stacktree
