package keyfile

import (
	"os"
	"strings"
)

// LocaleString returns the translation of key for the locale, as
// [File.String] reads it: the first of key[ll_CC.codeset@modifier], then the
// names that lack one or more of these parts, that exists and can be read; the
// key without a locale if there is none. The locale "" stands for the languages
// of the environment ([LanguageNames]). Errors are those of [File.String] on
// the key without a locale.
//
// C: g_key_file_get_locale_string
func (f *File) LocaleString(group, key, locale string) (string, error) {
	if name, ok := f.localeKey(group, key, locale); ok {
		return f.String(group, name)
	}
	return f.String(group, key)
}

// SetLocaleString sets key[locale]. Errors are those of [File.SetString].
//
// C: g_key_file_set_locale_string
func (f *File) SetLocaleString(group, key, locale, value string) error {
	return f.SetString(group, key+"["+locale+"]", value)
}

// LocaleStringList returns the elements of the list that
// [File.LocaleString] would choose, read as [File.StringList] does. Unlike in
// GLib, a separator in an element may be escaped, as
// [File.SetLocaleStringList] does it.
//
// C: g_key_file_get_locale_string_list
func (f *File) LocaleStringList(group, key, locale string) ([]string, error) {
	for _, l := range locales(locale) {
		if list, err := f.StringList(group, key+"["+l+"]"); err == nil {
			return list, nil
		}
	}
	return f.StringList(group, key)
}

// SetLocaleStringList sets the list key[locale]. Errors are those of
// [File.SetStringList].
//
// C: g_key_file_set_locale_string_list
func (f *File) SetLocaleStringList(group, key, locale string, list []string) error {
	return f.SetStringList(group, key+"["+locale+"]", list)
}

// LocaleForKey returns the locale whose translation [File.LocaleString] gives,
// and false if that is the key without a locale.
//
// C: g_key_file_get_locale_for_key
func (f *File) LocaleForKey(group, key, locale string) (string, bool) {
	name, ok := f.localeKey(group, key, locale)
	if !ok {
		return "", false
	}
	return name[len(key)+1 : len(name)-1], true
}

// localeKey finds the best readable translation.
func (f *File) localeKey(group, key, locale string) (string, bool) {
	for _, l := range locales(locale) {
		name := key + "[" + l + "]"
		if _, err := f.String(group, name); err == nil {
			return name, true
		}
	}
	return "", false
}

func locales(locale string) []string {
	if locale == "" {
		return LanguageNames()
	}
	return LocaleVariants(locale)
}

// LocaleVariants returns the locale and its less specific forms, the most
// specific first: for "de_AT.UTF-8@euro" that and "de_AT@euro",
// "de.UTF-8@euro", "de@euro", then the four without the modifier.
//
// C: g_get_locale_variants
func LocaleVariants(locale string) []string {
	// language, territory, codeset, modifier; a separator counts only behind
	// the one before it: "a_b@c.d" has a codeset and no modifier.
	parts, last := [4]string{locale}, 0
	for i, sep := range []byte("_.@") {
		if at := strings.IndexByte(parts[last], sep); at >= 0 {
			parts[last], parts[i+1] = parts[last][:at], parts[last][at:]
			last = i + 1
		}
	}
	var variants []string
	for mask := 7; mask >= 0; mask-- {
		v, ok := parts[0], true
		for i, bit := range []int{2, 1, 4} {
			if mask&bit != 0 {
				v += parts[i+1]
				ok = ok && parts[i+1] != ""
			}
		}
		if ok {
			variants = append(variants, v)
		}
	}
	return variants
}

// LanguageNames returns the locales that the user wants, the best first, with
// their variants and "C" at the end. They come from the first of LANGUAGE (a
// list with colons; the others hold one), LC_ALL, LC_MESSAGES and LANG that
// is set and not empty. Aliases of the C library (locale.alias) are not
// resolved.
//
// C: g_get_language_names
func LanguageNames() []string {
	value := "C"
	for _, name := range []string{"LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			value = v
			break
		}
	}
	var names []string
	for l := range strings.SplitSeq(value, ":") {
		names = append(names, LocaleVariants(l)...)
	}
	return append(names, "C")
}
