package testimage

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Features is what a random image may contain. The zero value is a plain
// stack of directories, files and symlinks whose paths never change type.
type Features struct {
	Whiteouts      bool // whiteouts of names of lower layers
	MovedWhiteouts bool // whiteouts of etc and var in the root (B4), if NonUsr
	SelfWhiteouts  bool // whiteouts of names that the same layer has too (B17, B52)
	Opaque         bool // opaque markers, at the root too if NonUsr
	TypeChanges    bool // a path may be another type in another layer (B19, B20)
	Hardlinks      bool // also forward, into etc, and with other spellings of the target
	LinksWithinUsr bool // hardlink targets only below usr, etc and var: elsewhere they may be filtered, which is an error
	HardlinkChains bool // hardlinks to hardlinks (B50)
	Xattrs         bool // one xattr on some members
	ManyXattrs     bool // several, out of order, with NUL and newline values (B21, B38)
	EmptyXattrs    bool // empty values too: libostree 2022.7 cannot read them back from disk, so bare repositories cannot hold them
	SpecialModes   bool // setuid, setgid, sticky, odd permissions
	Owners         bool // owners other than root
	OddNames       bool // unicode, spaces, leading dash, names sorting below '.', backslash
	Newlines       bool // newlines in names (B51)
	LongNames      bool // 255-byte names and paths of over 1,000 bytes
	GNU            bool // some members in GNU format
	Spellings      bool // ./x, /x, x//y, x/./y
	Repeats        bool // a name twice in a layer, as the same type
	MissingParents bool // unnamed parent directories (B22, B48)
	LateParents    bool // directories named after what is inside
	Var            bool // entries below var/
	NonUsr         bool // entries below opt/, srv/ and in the root
	API            bool // entries of and below run/, tmp/, proc/, sys/, dev/
	Devices        bool // devices and FIFOs (B25)
	BigFiles       bool // files of 200 KB
	Compressions   bool // layers differ in compression
}

// AllFeatures has every feature.
func AllFeatures() Features {
	return Features{
		Whiteouts: true, MovedWhiteouts: true, SelfWhiteouts: true, Opaque: true, TypeChanges: true, Hardlinks: true, HardlinkChains: true,
		Xattrs: true, ManyXattrs: true, EmptyXattrs: true, SpecialModes: true, Owners: true, OddNames: true, Newlines: true, LongNames: true,
		GNU: true, Spellings: true, Repeats: true, MissingParents: true, LateParents: true, Var: true, NonUsr: true,
		API: true, Devices: true, BigFiles: true, Compressions: true,
	}
}

// UnionSafe has the features whose union the ostree command's own checkouts
// (libostree 2022.7) get right.
func UnionSafe() Features {
	f := AllFeatures()
	f.SelfWhiteouts, f.TypeChanges, f.EmptyXattrs = false, false, false
	return f
}

// ReferenceSafe has the features that the reference program with libostree
// 2022.7 imports as decided for this project.
func ReferenceSafe() Features {
	f := UnionSafe()
	f.HardlinkChains, f.ManyXattrs, f.Newlines, f.MissingParents, f.LateParents, f.Devices = false, false, false, false, false, false
	f.Repeats, f.Compressions, f.Spellings, f.MovedWhiteouts = false, false, false, false
	return f
}

// RandomOptions bounds a random image. Zero values mean the defaults.
type RandomOptions struct {
	Features  Features
	MinLayers int // 2
	MaxLayers int // 6
	Members   int // 40, at most, per layer
}

// Random makes a stack of derived layers from a seed; the same seed and
// options give the same layers.
func Random(seed uint64, opts RandomOptions) []Layer {
	if opts.MinLayers == 0 {
		opts.MinLayers = 2
	}
	if opts.MaxLayers == 0 {
		opts.MaxLayers = max(6, opts.MinLayers)
	}
	if opts.Members == 0 {
		opts.Members = 40
	}
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x7e57)), f: opts.Features, salt: seed}
	g.names = g.pool()
	n := opts.MinLayers + g.IntN(opts.MaxLayers-opts.MinLayers+1)
	var layers []Layer
	for i := range n {
		l := Layer{Members: g.layer(5+g.IntN(opts.Members-4), i)}
		if g.f.Compressions {
			l.Compression = Compression(g.IntN(int(ZstdFrames)))
		}
		layers = append(layers, l)
	}
	return layers
}

type generator struct {
	*rand.Rand
	f     Features
	salt  uint64
	names []string

	out   []Member
	kinds map[string]byte // in this layer, by its place in the commit: 'd', 'f', 'l', 'h' (hardlink), 'w' whiteout target
	late  []Member
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) pick(s []string) string { return s[g.IntN(len(s))] }

func (g *generator) pool() []string {
	names := []string{"a", "b", "bin", "c.conf", "d", "lib", "zz", ".hidden", "share", ".wh"}
	if g.f.OddNames {
		names = append(names, "-x", "+plus", ",comma", "#hash", "!bang", "$dollar", " space", "trail ", "back\\slash",
			"Főtanúsítvány.pem", "日本語", "q'\"`", "%41", "tab\tname", "~tilde", "[glob]*", ".,", ".-", "\x01ctl")
	}
	if g.f.Newlines {
		names = append(names, "new\nline", "\n", "end\n")
	}
	if g.f.LongNames {
		names = append(names, strings.Repeat("L", 255), strings.Repeat("é", 127)+"x", strings.Repeat("m", 101))
	}
	return names
}

// place is where a tar path ends up in the commit: enough of the rules to keep
// one layer consistent with itself.
func place(path string) string {
	switch top, rest, _ := strings.Cut(path, "/"); {
	case top == "etc":
		return strings.TrimSuffix("usr/etc/"+rest, "/")
	case top == "var":
		return strings.TrimSuffix("usr/share/factory/var/"+rest, "/")
	}
	return path
}

func (g *generator) tops() []string {
	tops := []string{"usr", "usr", "usr", "usr/share", "etc", "etc"}
	if g.f.Var {
		tops = append(tops, "var")
	}
	if g.f.NonUsr {
		tops = append(tops, "opt", "srv", "")
	}
	if g.f.API {
		tops = append(tops, "run", "tmp", "dev", "proc/x")
	}
	return tops
}

// kindOf is the type a path always has when types do not change.
func (g *generator) kindOf(path string) byte {
	switch path {
	case "usr", "usr/share", "usr/etc", "usr/share/factory", "usr/share/factory/var", "opt", "srv", "run", "tmp", "dev", "proc", "proc/x":
		return 'd'
	}
	if _, base := split(path); strings.HasPrefix(base, "ppppp") {
		return 'd'
	}
	h := g.salt
	for i := range len(path) {
		h = (h ^ uint64(path[i])) * 0x100000001b3
	}
	switch h >> 20 % 10 {
	case 0, 1, 2, 3, 4:
		return 'd'
	case 5:
		return 'l'
	}
	return 'f'
}

func (g *generator) layer(n, index int) []Member {
	g.out, g.late, g.kinds = nil, nil, map[string]byte{"": 'd', "usr": 'd', "usr/etc": 'd', "usr/share": 'd', "usr/share/factory": 'd', "usr/share/factory/var": 'd'}
	named := map[string]bool{}
	if g.chance(70) {
		g.emit(g.dress(Member{Name: g.pick([]string{"./", "."}), Type: TypeDir, Mode: 0o755}))
	}
	if !g.f.MissingParents { // also of where etc and var go
		for _, dir := range []string{"usr", "usr/share", "usr/share/factory"} {
			g.emit(g.dress(Dir(dir, 0o755)))
			named[dir] = true
		}
	}
	for i := 0; i < n; i++ {
		path := g.pick(g.tops())
		depth := 1 + g.IntN(3)
		if g.f.LongNames && g.chance(2) {
			depth = 6 // with long names: paths of over 1,000 bytes
		}
		for range depth {
			name := g.pick(g.names)
			if depth == 6 && g.chance(80) {
				name = strings.Repeat("p", 200+g.IntN(3))
			}
			path = strings.TrimPrefix(path+"/"+name, "/")
		}
		g.add(path, named, index)
	}
	g.out = append(g.out, g.late...)
	return g.out
}

// want says whether path may be of kind k now, given the layer so far.
func (g *generator) want(path string, k byte) bool {
	p := place(path)
	have, ok := g.kinds[p]
	switch {
	case !ok:
		return true
	case k == 'd' || have == 'd':
		return have == k
	case have == 'w' || k == 'w':
		return g.f.SelfWhiteouts
	case have == 'h':
		// A file after a hardlink of its name (B50).
		return g.f.Repeats && g.f.HardlinkChains && k == 'f'
	}
	return g.f.Repeats && have == k && k != 'x'
}

func (g *generator) add(path string, named map[string]bool, index int) {
	// Parents.
	parts := strings.Split(path, "/")
	for i := 1; i < len(parts); i++ {
		dir := strings.Join(parts[:i], "/")
		if !g.f.TypeChanges && g.kindOf(place(dir)) != 'd' {
			return // always a file: nothing below it, ever
		}
		if !g.want(dir, 'd') || g.kinds[place(dir)] == 'w' && !g.f.SelfWhiteouts {
			return
		}
		if named[place(dir)] && !(g.f.Repeats && g.chance(5)) {
			continue
		}
		if g.f.MissingParents && g.chance(20) {
			if _, ok := g.kinds[place(dir)]; !ok {
				g.kinds[place(dir)] = 'd'
			}
			continue
		}
		m := g.dress(Member{Name: dir, Type: TypeDir, Mode: 0o755})
		g.kinds[place(dir)] = 'd'
		named[place(dir)] = true
		if g.f.LateParents && g.chance(10) {
			g.late = append(g.late, m)
			continue
		}
		g.emit(m)
	}
	kind := g.kindOf(place(path))
	if g.f.TypeChanges {
		kind = "dddddlfffff"[g.IntN(11)]
	}
	dir, base := split(path)
	switch {
	case g.f.Whiteouts && index > 0 && g.chance(20) && g.whiteable(path):
		g.emit(Whiteout(path))
		g.mark(path, 'w')
		return
	case g.f.Whiteouts && g.f.NonUsr && index > 0 && g.chance(1):
		tops := []string{"opt", "srv", "bin"}
		if g.f.MovedWhiteouts {
			tops = append(tops, "etc", "var")
		}
		g.emit(Whiteout(g.pick(tops)))
		return
	case g.f.Opaque && index > 0 && g.chance(4) && dir != "" && !g.isAPI(path):
		// The directory is named already, or made as a missing parent.
		g.emit(Opaque(strings.TrimSuffix(dir, "/")))
		return
	case g.f.Opaque && g.f.NonUsr && index > 0 && g.chance(1):
		if g.chance(20) {
			g.emit(Opaque(""))
		}
		return
	case g.f.Devices && g.chance(3):
		if g.want(path, 'x') && g.kinds[place(path)] == 0 {
			g.emit(Member{Name: path, Type: []byte{TypeChar, TypeBlock, TypeFIFO}[g.IntN(3)], Mode: 0o600, Major: 1, Minor: 3})
			g.kinds[place(path)] = 'x'
		}
		return
	}
	if base == "" || !g.want(path, kind) {
		return
	}
	switch kind {
	case 'd':
		if named[place(path)] && !g.f.Repeats {
			return
		}
		named[place(path)] = true
		g.kinds[place(path)] = 'd'
		g.emit(g.dress(Member{Name: path, Type: TypeDir, Mode: 0o755}))
		return
	case 'l':
		target := g.pick([]string{"a", "b", "nowhere", "../zz", "./a//b", "/testimage-nowhere/x", "../../../../testimage-nowhere"})
		if g.f.LongNames && g.chance(10) {
			target = strings.Repeat("t/", 60) + "end"
		}
		m := g.owners(Symlink(path, target))
		if g.f.Xattrs && g.chance(10) {
			m = m.With("trusted.link", "x")
		}
		g.emit(m)
	default:
		if g.f.Hardlinks && g.chance(15) && !g.isAPI(path) {
			if t := g.linkTarget(path); t != "" {
				g.emit(Hardlink(path, g.spell(t)))
				g.mark(path, 'h')
				return
			}
		}
		m := g.dress(Member{Name: path, Type: TypeReg, Mode: 0o644})
		switch {
		case g.chance(15):
			m.Content = []byte{}
		case g.f.BigFiles && g.chance(2):
			m.Size, m.Fill = 200_000+int64(g.IntN(5000)), g.Uint64N(4)
		default:
			m.Content = fmt.Appendf(nil, "content %d\n", g.IntN(50))
		}
		g.emit(m)
	}
	g.mark(path, kind)
}

func (g *generator) mark(path string, k byte) {
	p := place(path)
	if k == 'w' && g.kinds[p] != 0 {
		return // the path exists in the layer: its own kind stays
	}
	g.kinds[p] = k
}

func (g *generator) whiteable(path string) bool {
	_, base := split(path)
	if strings.HasPrefix(base, ".wh") || len(base) > 251 {
		return false
	}
	have, ok := g.kinds[place(path)]
	if have == 'w' {
		return g.f.Repeats
	}
	return !ok || g.f.SelfWhiteouts && have != 'x'
}

func (g *generator) isAPI(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	switch top {
	case "run", "tmp", "dev", "proc", "sys":
		return true
	}
	return false
}

// linkTarget is the name of a regular file of this layer, as the tar calls
// it, or "". Links to links only if chains are allowed.
func (g *generator) linkTarget(path string) string {
	if g.kinds[place(path)] != 0 {
		return "" // replacing a file that others may link to could make a cycle
	}
	for range 8 {
		if len(g.out) == 0 {
			return ""
		}
		m := g.out[g.IntN(len(g.out))]
		name := strings.TrimLeft(strings.TrimPrefix(m.Name, "./"), "/")
		_, base := split(name)
		top, _, _ := strings.Cut(name, "/")
		if g.f.LinksWithinUsr && top != "usr" && top != "etc" && top != "var" {
			continue
		}
		if g.isAPI(name) || strings.HasPrefix(base, ".wh.") || strings.Contains(m.Name, "//") || strings.Contains(m.Name, "/./") {
			continue
		}
		switch {
		case m.Type == TypeReg && g.kinds[place(name)] == 'f':
			return name
		case m.Type == TypeHardlink && g.f.HardlinkChains && g.kinds[place(name)] == 'h':
			return name
		}
	}
	return ""
}

func (g *generator) emit(m Member) {
	m.Name = g.spell(m.Name)
	if g.f.GNU && len(m.Xattrs) == 0 && g.chance(15) {
		m.Format = FormatGNU
	} else if g.chance(10) {
		m.Format = FormatPAX
	}
	if m.Type == TypeDir && g.chance(50) && !strings.HasSuffix(m.Name, "/") {
		m.Name += "/"
	}
	g.out = append(g.out, m)
}

func (g *generator) spell(name string) string {
	if !g.f.Spellings || strings.HasPrefix(name, ".") && strings.Trim(name, "./") == "" {
		return name
	}
	switch g.IntN(12) {
	case 0:
		return "/" + name
	case 1:
		return "./" + name
	case 2:
		return strings.Replace(name, "/", "//", 1)
	case 3:
		return strings.Replace(name, "/", "/./", 1)
	}
	return name
}

func (g *generator) owners(m Member) Member {
	if g.f.Owners && g.chance(30) {
		m.UID, m.GID = []int{0, 1000, 65534, 3_000_000}[g.IntN(4)], []int{0, 5, 1000}[g.IntN(3)]
	}
	return m
}

func (g *generator) dress(m Member) Member {
	m = g.owners(m)
	if g.f.SpecialModes && g.chance(25) {
		if m.Type == TypeDir {
			m.Mode = []int64{0o1777, 0o2775, 0o700, 0o000, 0o3755, 0o555}[g.IntN(6)]
		} else {
			m.Mode = []int64{0o4755, 0o2755, 0o6711, 0o600, 0o000, 0o444, 0o1644, 0o777}[g.IntN(8)]
		}
	}
	if g.f.Xattrs && g.chance(15) {
		if m.Type == TypeReg && g.chance(40) {
			m = m.With("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		} else {
			m = m.With("user.one", "value")
		}
	}
	if g.f.ManyXattrs && g.chance(10) {
		values := []string{"a\nb", "nul\x00", "\x00", "12 user.x=y\n", "plain", "é"}
		if g.f.EmptyXattrs {
			values = append(values, "", "")
		}
		names := []string{"user.zz", "user.aa", "user.component", "trusted.t", "user.M", "user.é"}
		g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, n := range names[:2+g.IntN(3)] {
			m = m.With(n, values[g.IntN(len(values))])
		}
	}
	return m
}
