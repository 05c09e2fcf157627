// SPDX-License-Identifier: Apache-2.0

// Package jsonfile writes events to a file, one JSON object a line, and rotates it.
//
// A line is written whole by one call or not at all: what a full disk has left of
// one is cut off again. A file is never larger than its bound, but for a line that
// is by itself. What is not written is counted, logged once, and told of in the
// file once it can be written again.
//
// Others may rotate the file as well: it is looked at before each line, and when
// it was renamed or removed a new one is begun, also by Reopen; when it was emptied,
// writing goes on at its beginning.
//
// Old files are beside it, with the UTC time of their rotation in their names:
// events-2006-01-02T15-04-05.000.log of events.log. They are packed and removed
// beside the writing, and a job that was cut short is done at the next start.
//
// Libraries that rotate files were looked at and do not keep these promises: they go
// on writing to a file that was renamed, leave what a full disk made of a line, and
// have no end for the goroutine that packs.
package jsonfile
