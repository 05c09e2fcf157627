// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxSizeMB   = 1 << 20 // 1 TiB
	minInterval = time.Second
	maxInterval = 10 * 365 * 24 * time.Hour
	maxBackups  = 10_000
	maxRate     = 1<<31 - 1
	maxWindow   = time.Hour
	maxBuffer   = 1 << 20

	// flatName is the name of the export that flags are about.
	flatName = "export"
)

// Export is a file that events are written to. What the configuration leaves out is
// as in the flags.
type Export struct {
	// Name is the export's in logs and numbers; empty = that of its file.
	Name string `yaml:"name"`
	// File is its path.
	File string `yaml:"file"`
	// MaxSizeMB, in units of 1 MiB, and RotationInterval, 0 = none, are when a new
	// file is begun.
	MaxSizeMB        int           `yaml:"max-size-mb"`
	RotationInterval time.Duration `yaml:"rotation-interval"`
	// MaxBackups is how many old files are kept, 0 = all; Compress packs them.
	MaxBackups int  `yaml:"max-backups"`
	Compress   bool `yaml:"compress"`
	// Permissions of all these files, octal.
	Permissions string `yaml:"permissions"`
	// RateLimit is the most events in a minute; -1 = no limit, 0 = none are written.
	RateLimit int `yaml:"rate-limit"`
	// AllowList, DenyList and FieldFilters are the filters of the API, as JSON objects
	// one after the other.
	AllowList    string `yaml:"allow-list"`
	DenyList     string `yaml:"deny-list"`
	FieldFilters string `yaml:"field-filters"`
	// Aggregation is nil when each event is written.
	Aggregation *ExportAggregation `yaml:"aggregation"`

	// at is where it is in the configuration, empty for the one of the flags.
	at string
}

// ExportAggregation is how equal events are counted together.
type ExportAggregation struct {
	WindowSize time.Duration `yaml:"window-size"`
	BufferSize int           `yaml:"buffer-size"`
}

func defaultExport() Export {
	return Export{
		MaxSizeMB: 10, MaxBackups: 5, Permissions: "600", RateLimit: -1,
		Aggregation: &ExportAggregation{WindowSize: 15 * time.Second, BufferSize: 10_000},
	}
}

// completeExports sets what the text of a file leaves out of its exports.
func (c *Config) completeExports(text []byte) error {
	var given struct {
		Exports []map[string]yaml.Node `yaml:"exports"`
	}
	if err := yaml.Unmarshal(text, &given); err != nil {
		return err
	}
	for i := range c.Exports {
		e, usual := &c.Exports[i], defaultExport()
		absent := func(key string) bool { return i >= len(given.Exports) || given.Exports[i][key].Kind == 0 }
		if absent("max-size-mb") {
			e.MaxSizeMB = usual.MaxSizeMB
		}
		if absent("max-backups") {
			e.MaxBackups = usual.MaxBackups
		}
		if absent("permissions") {
			e.Permissions = usual.Permissions
		}
		if absent("rate-limit") {
			e.RateLimit = usual.RateLimit
		}
		if absent("aggregation") {
			continue
		}
		own := map[string]yaml.Node{}
		node := given.Exports[i]["aggregation"]
		if err := node.Decode(&own); err != nil {
			return err
		}
		if e.Aggregation == nil { // "aggregation:" alone
			e.Aggregation = &ExportAggregation{}
		}
		if own["window-size"].Kind == 0 {
			e.Aggregation.WindowSize = usual.Aggregation.WindowSize
		}
		if own["buffer-size"].Kind == 0 {
			e.Aggregation.BufferSize = usual.Aggregation.BufferSize
		}
	}
	return nil
}

// flat is the export of the flags.
func (c Config) flat() Export {
	e := Export{
		Name: flatName, File: c.ExportFilename, MaxSizeMB: c.ExportFileMaxSizeMB, RotationInterval: c.ExportFileRotationInterval,
		MaxBackups: c.ExportFileMaxBackups, Compress: c.ExportFileCompress, Permissions: c.ExportFilePerm, RateLimit: c.ExportRateLimit,
		AllowList: c.ExportAllowlist, DenyList: c.ExportDenylist, FieldFilters: c.ExportFieldFilters,
	}
	if c.EnableExportAggregation {
		e.Aggregation = &ExportAggregation{WindowSize: c.ExportAggregationWindowSize, BufferSize: c.ExportAggregationBufferSize}
	}
	return e
}

// AllExports are the files that events are written to: that of the flags first, then
// those of the list in its order. All have a name.
func (c Config) AllExports() []Export {
	var all []Export
	if c.ExportFilename != "" {
		all = append(all, c.flat())
	}
	for i, e := range c.Exports {
		if e.Name == "" {
			e.Name = e.File
		}
		e.at = fmt.Sprintf("exports[%d]", i)
		all = append(all, e)
	}
	return all
}

// flatKeys are the keys of an export's settings when they are flags.
func flatKeys() map[string]string {
	return map[string]string{
		"name": "export-filename", "file": "export-filename", "max-size-mb": "export-file-max-size-mb",
		"rotation-interval": "export-file-rotation-interval", "max-backups": "export-file-max-backups", "compress": "export-file-compress",
		"permissions": "export-file-perm", "rate-limit": "export-rate-limit", "allow-list": "export-allowlist",
		"deny-list": "export-denylist", "field-filters": "export-field-filters", "aggregation": "enable-export-aggregation",
		"aggregation.window-size": "export-aggregation-window-size", "aggregation.buffer-size": "export-aggregation-buffer-size",
	}
}

// Key is the key of one of the export's settings, as it can be looked up in the
// configuration: exports[1].max-size-mb.
func (e Export) Key(setting string) string {
	if e.at == "" {
		return flatKeys()[setting]
	}
	return e.at + "." + setting
}

// Perm is the permissions as a number.
func (e Export) Perm() (fs.FileMode, error) {
	n, err := strconv.ParseUint(e.Permissions, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("%q is no octal number from 0 to 777", e.Permissions)
	}
	return fs.FileMode(n), nil
}

// Validate checks an export's settings; key names them in the error, which joins a
// [*FieldError] for each bad one.
func (e Export) Validate(key func(setting string) string) error {
	var faults []error
	check := func(setting, reason string) {
		if reason != "" {
			faults = append(faults, &FieldError{Field: key(setting), Reason: reason})
		}
	}
	check("name", nodeName(e.Name))
	check("file", absolute(e.File, false))
	check("max-size-mb", between(e.MaxSizeMB, 1, maxSizeMB))
	if e.RotationInterval != 0 {
		check("rotation-interval", between(e.RotationInterval, minInterval, maxInterval))
	}
	check("max-backups", between(e.MaxBackups, 0, maxBackups))
	if _, err := e.Perm(); err != nil {
		check("permissions", err.Error())
	}
	check("rate-limit", between(e.RateLimit, -1, maxRate))
	if e.Aggregation != nil {
		check("aggregation.window-size", between(e.Aggregation.WindowSize, time.Millisecond, maxWindow))
		check("aggregation.buffer-size", between(e.Aggregation.BufferSize, 1, maxBuffer))
	}
	return errors.Join(faults...)
}

// exportFaults are the faults of all exports, also of flags that are not in use.
func (c Config) exportFaults() (faults []error) {
	flat := c
	flat.EnableExportAggregation = true
	if c.ExportFilename == "" {
		flat.ExportFilename = "/unused"
	}
	if err := flat.flat().Validate(Export{}.Key); err != nil {
		faults = append(faults, err)
	}
	names, files := map[string]bool{}, map[string]bool{}
	for _, e := range c.AllExports() {
		if e.at != "" {
			if err := e.Validate(e.Key); err != nil {
				faults = append(faults, err)
			}
		}
		if names[e.Name] {
			faults = append(faults, &FieldError{Field: e.Key("name"), Reason: fmt.Sprintf("%q is the name of another export", e.Name)})
		}
		file := filepath.Clean(e.File)
		if files[file] {
			faults = append(faults, &FieldError{Field: e.Key("file"), Reason: fmt.Sprintf("%q is the file of another export", e.File)})
		}
		names[e.Name], files[file] = true, true
	}
	return faults
}
