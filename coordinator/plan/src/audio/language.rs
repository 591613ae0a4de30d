//! Languages: from what containers declare (ISO 639-2, either form, or BCP-47) to BCP-47 as manifests want it, which
//! asks for the shortest code.

/// (ISO 639-2 codes, ISO 639-1 code, the language's name in English)
const TABLE: [(&[&str], &str, &str); 48] = [
    (&["eng"], "en", "English"),
    (&["deu", "ger"], "de", "German"),
    (&["fra", "fre"], "fr", "French"),
    (&["spa"], "es", "Spanish"),
    (&["ita"], "it", "Italian"),
    (&["por"], "pt", "Portuguese"),
    (&["nld", "dut"], "nl", "Dutch"),
    (&["dan"], "da", "Danish"),
    (&["swe"], "sv", "Swedish"),
    (&["nor"], "no", "Norwegian"),
    (&["nob"], "nb", "Norwegian Bokmål"),
    (&["nno"], "nn", "Norwegian Nynorsk"),
    (&["fin"], "fi", "Finnish"),
    (&["isl", "ice"], "is", "Icelandic"),
    (&["pol"], "pl", "Polish"),
    (&["ces", "cze"], "cs", "Czech"),
    (&["slk", "slo"], "sk", "Slovak"),
    (&["slv"], "sl", "Slovenian"),
    (&["hrv"], "hr", "Croatian"),
    (&["srp"], "sr", "Serbian"),
    (&["bos"], "bs", "Bosnian"),
    (&["mkd", "mac"], "mk", "Macedonian"),
    (&["bul"], "bg", "Bulgarian"),
    (&["ron", "rum"], "ro", "Romanian"),
    (&["hun"], "hu", "Hungarian"),
    (&["ell", "gre"], "el", "Greek"),
    (&["tur"], "tr", "Turkish"),
    (&["rus"], "ru", "Russian"),
    (&["ukr"], "uk", "Ukrainian"),
    (&["bel"], "be", "Belarusian"),
    (&["est"], "et", "Estonian"),
    (&["lav"], "lv", "Latvian"),
    (&["lit"], "lt", "Lithuanian"),
    (&["heb"], "he", "Hebrew"),
    (&["ara"], "ar", "Arabic"),
    (&["fas", "per"], "fa", "Persian"),
    (&["hin"], "hi", "Hindi"),
    (&["ben"], "bn", "Bengali"),
    (&["tam"], "ta", "Tamil"),
    (&["tel"], "te", "Telugu"),
    (&["urd"], "ur", "Urdu"),
    (&["tha"], "th", "Thai"),
    (&["vie"], "vi", "Vietnamese"),
    (&["ind"], "id", "Indonesian"),
    (&["msa", "may"], "ms", "Malay"),
    (&["jpn"], "ja", "Japanese"),
    (&["kor"], "ko", "Korean"),
    (&["zho", "chi"], "zh", "Chinese"),
];

/// The BCP-47 tag of a declared language; `und` when it is none.
pub(super) fn tag(declared: Option<&str>) -> String {
    let declared = declared.unwrap_or_default().trim().replace('_', "-");
    let mut parts = declared.split('-');
    let primary = parts.next().unwrap_or_default().to_ascii_lowercase();
    let known = TABLE.iter().find(|(long, short, _)| *short == primary || long.contains(&primary.as_str()));
    let primary = known.map_or(primary, |k| k.1.to_owned());
    let is_language = (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_lowercase());
    // subtags that BCP-47 could not hold are left out; the language still is right
    let is_subtag = |p: &&str| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_language || primary == "und" || primary == "mis" || primary == "mul" || primary == "zxx" {
        return "und".to_owned();
    }
    let rest: Vec<_> = parts.take_while(is_subtag).take(3).collect();
    std::iter::once(primary.as_str()).chain(rest).collect::<Vec<_>>().join("-")
}

/// The English name of a tag's language, if it is a common one.
pub(super) fn name(tag: &str) -> Option<&'static str> {
    let primary = tag.split('-').next()?;
    TABLE.iter().find(|(_, short, _)| *short == primary).map(|row| row.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_shortest_there_are() {
        for (declared, want) in [
            (Some("eng"), "en"),
            (Some("ger"), "de"),
            (Some("deu"), "de"),
            (Some("de-CH"), "de-CH"),
            (Some("pt_BR"), "pt-BR"),
            (Some("haw"), "haw"),
            (Some("und"), "und"),
            (Some("```"), "und"),
            (Some("English"), "und"),
            (Some("en-<script>"), "en"),
            (Some(""), "und"),
            (None, "und"),
        ] {
            assert_eq!(tag(declared), want, "{declared:?}");
        }
        assert_eq!(name("pt-BR"), Some("Portuguese"));
        assert_eq!(name("und"), None);
    }
}
