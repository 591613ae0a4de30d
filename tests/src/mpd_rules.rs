//! The form of an MPD by the rules of ISO/IEC 23009-1 (elements, their order, attributes and the lexical form of their
//! values) and of the DASH-IF interoperability points, for the elements that a static package of CMAF uses.
//!
//! The official XML schema itself is not run: it comes in no package that a test run could install, and its terms do not
//! allow a copy here. An element or attribute that these tables do not know is a fault, too.

use anyhow::Result;
use roxmltree::{Document, Node};
use std::collections::BTreeSet;

const NAMESPACE: &str = "urn:mpeg:dash:schema:mpd:2011";

/// The lexical form of an attribute's value.
#[derive(Clone, Copy)]
enum Form {
    /// xs:duration of hours, minutes and seconds.
    Duration,
    /// An unsigned integer of 32 or 64 bits; the least value.
    Whole(u64),
    /// xs:boolean.
    Bool,
    /// `24` or `24000/1001`.
    FrameRate,
    /// `1:1`.
    Ratio,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// An absolute URN or URL.
    Uri,
    /// Such, parted by commas.
    Uris,
    /// No white space.
    Word,
    /// A language tag of RFC 5646.
    Language,
}

impl Form {
    fn holds(self, value: &str) -> bool {
        let is_whole = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
        let is_positive = |v: &str| is_whole(v) && v.bytes().any(|b| b != b'0');
        match self {
            Self::Duration => is_duration(value),
            Self::Whole(least) => is_whole(value) && value.parse::<u64>().is_ok_and(|v| v >= least),
            Self::Bool => ["true", "false", "1", "0"].contains(&value),
            Self::FrameRate => {
                let (frames, seconds) = value.split_once('/').unwrap_or((value, "1"));
                is_positive(frames) && is_positive(seconds)
            }
            Self::Ratio => value.split_once(':').is_some_and(|(a, b)| is_positive(a) && is_positive(b)),
            Self::OneOf(words) => words.contains(&value),
            Self::Uri => {
                value.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
            }
            Self::Uris => value.split(',').all(|v| Self::Uri.holds(v)),
            Self::Word => !value.is_empty() && !value.contains(char::is_whitespace),
            Self::Language => value.split('-').enumerate().all(|(n, part)| {
                let long = if n == 0 { 2..=8 } else { 1..=8 };
                long.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
            }),
        }
    }
}

/// `PT1H2M3.5S`: at least one part, each a number and its letter, in this order; a fraction in seconds alone.
fn is_duration(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix("PT") else { return false };
    if rest.is_empty() {
        return false;
    }
    for unit in ['H', 'M', 'S'] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || (unit != 'S' && number.contains('.')) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// What an element may hold: its attributes with their forms (`true`: must be there), and its children in their order
/// with the least and the largest number of each.
struct Shape {
    attributes: &'static [(&'static str, Form, bool)],
    children: &'static [(&'static str, usize, usize)],
}

const MANY: usize = usize::MAX;
const KINDS: &[&str] = &["video/mp4", "audio/mp4"];
const DESCRIPTOR: Shape =
    Shape { attributes: &[("schemeIdUri", Form::Uri, true), ("value", Form::Word, true)], children: &[] };

fn shape(element: &str) -> Option<Shape> {
    Some(match element {
        "MPD" => Shape {
            attributes: &[
                ("profiles", Form::Uris, true),
                ("type", Form::OneOf(&["static"]), true),
                ("mediaPresentationDuration", Form::Duration, true),
                ("minBufferTime", Form::Duration, true),
                ("maxSegmentDuration", Form::Duration, false),
            ],
            children: &[("Period", 1, MANY)],
        },
        "Period" => Shape {
            attributes: &[
                ("id", Form::Word, true),
                ("start", Form::Duration, false),
                ("duration", Form::Duration, false),
            ],
            children: &[("AdaptationSet", 1, MANY)],
        },
        "AdaptationSet" => Shape {
            attributes: &[
                ("id", Form::Whole(0), false),
                ("contentType", Form::OneOf(&["video", "audio"]), true),
                ("lang", Form::Language, false),
                ("mimeType", Form::OneOf(KINDS), true),
                ("segmentAlignment", Form::Bool, true),
                ("startWithSAP", Form::OneOf(&["1"]), true),
                ("selectionPriority", Form::Whole(0), false),
                ("maxWidth", Form::Whole(1), false),
                ("maxHeight", Form::Whole(1), false),
                ("maxFrameRate", Form::FrameRate, false),
            ],
            children: &[
                ("AudioChannelConfiguration", 0, 1),
                ("Label", 0, MANY),
                ("Role", 0, MANY),
                ("SegmentTemplate", 1, 1),
                ("Representation", 1, MANY),
            ],
        },
        "AudioChannelConfiguration" | "Role" => DESCRIPTOR,
        "Label" => Shape { attributes: &[], children: &[] },
        "SegmentTemplate" => Shape {
            attributes: &[
                ("timescale", Form::Whole(1), true),
                ("presentationTimeOffset", Form::Whole(0), false),
                ("initialization", Form::Word, true),
                ("media", Form::Word, true),
                ("startNumber", Form::Whole(0), false),
            ],
            children: &[("SegmentTimeline", 1, 1)],
        },
        "SegmentTimeline" => Shape { attributes: &[], children: &[("S", 1, MANY)] },
        "S" => Shape {
            attributes: &[
                ("t", Form::Whole(0), false),
                ("d", Form::Whole(1), true),
                ("r", Form::Whole(0), false),
            ],
            children: &[],
        },
        "Representation" => Shape {
            attributes: &[
                ("id", Form::Word, true),
                ("bandwidth", Form::Whole(1), true),
                ("codecs", Form::Word, true),
                ("width", Form::Whole(1), false),
                ("height", Form::Whole(1), false),
                ("frameRate", Form::FrameRate, false),
                ("sar", Form::Ratio, false),
                ("audioSamplingRate", Form::Whole(1), false),
            ],
            children: &[],
        },
        _ => return None,
    })
}

/// Every rule that an MPD breaks; none for a good one. An error when it is no XML.
pub fn faults(text: &str) -> Result<Vec<String>> {
    let document = Document::parse(text)?;
    let root = document.root_element();
    let mut faults = Vec::new();
    if !root.has_tag_name((NAMESPACE, "MPD")) {
        faults.push("the root is not an MPD of the schema's namespace".to_owned());
    }
    for node in root.descendants().filter(Node::is_element) {
        check_form(node, &mut faults);
    }
    for period in named(root, "Period") {
        unique("AdaptationSet", named(period, "AdaptationSet"), &mut faults);
        unique("Representation", named(period, "Representation"), &mut faults);
    }
    unique("Period", named(root, "Period"), &mut faults);
    for set in named(root, "AdaptationSet") {
        check_set(set, &mut faults);
    }
    Ok(faults)
}

fn named<'a, 'i: 'a>(under: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    under.descendants().filter(move |n| n.tag_name().name() == name)
}

fn check_form(node: Node<'_, '_>, faults: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some(shape) = shape(name) else {
        return faults.push(format!("{name} is no element of these packages"));
    };
    for (attribute, form, _) in shape.attributes {
        if let Some(value) = node.attribute(*attribute).filter(|v| !form.holds(v)) {
            faults.push(format!("{name}@{attribute} has the form of nothing: {value:?}"));
        }
    }
    for (attribute, ..) in shape.attributes.iter().filter(|(a, _, must)| *must && !node.has_attribute(*a)) {
        faults.push(format!("{name}@{attribute} is missing"));
    }
    for attribute in
        node.attributes().filter(|a| !shape.attributes.iter().any(|(known, ..)| *known == a.name()))
    {
        faults.push(format!("{name}@{} is unknown", attribute.name()));
    }
    let children: Vec<_> = node.children().filter(Node::is_element).map(|n| n.tag_name().name()).collect();
    let places: Vec<_> =
        children.iter().map(|c| shape.children.iter().position(|(known, ..)| known == c)).collect();
    if places.contains(&None) || !places.is_sorted() {
        faults.push(format!("children of {name} are out of order: {children:?}"));
    }
    for (child, least, most) in shape.children {
        let count = children.iter().filter(|c| *c == child).count();
        if count < *least || count > *most {
            faults.push(format!("{name} holds {count} of {child}"));
        }
    }
}

fn unique<'a, 'i: 'a>(what: &str, nodes: impl Iterator<Item = Node<'a, 'i>>, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for id in nodes.filter_map(|n| n.attribute("id")) {
        if !seen.insert(id) {
            faults.push(format!("{what}@id {id} is there twice"));
        }
    }
}

/// What the parts of a set say of each other.
fn check_set(set: Node<'_, '_>, faults: &mut Vec<String>) {
    let (kind, mime) = (set.attribute("contentType"), set.attribute("mimeType"));
    if kind != mime.and_then(|m| m.split('/').next()) {
        faults.push(format!("contentType {kind:?} is not of mimeType {mime:?}"));
    }
    let number = |node: Node<'_, '_>, name: &str| node.attribute(name).and_then(|v| v.parse::<u64>().ok());
    for (most, each) in [("maxWidth", "width"), ("maxHeight", "height")] {
        let largest = named(set, "Representation").filter_map(|r| number(r, each)).max();
        if number(set, most) != largest {
            faults.push(format!("{most} is not the largest {each}, {largest:?}"));
        }
    }
    let needed: &[&str] =
        if kind == Some("video") { &["width", "height", "frameRate"] } else { &["audioSamplingRate"] };
    for representation in named(set, "Representation") {
        for attribute in needed.iter().filter(|a| !representation.has_attribute(**a)) {
            faults.push(format!("a {kind:?} representation without {attribute}"));
        }
    }
    let own_folder = |attribute| {
        named(set, "SegmentTemplate")
            .filter_map(|t| t.attribute(attribute))
            .all(|m| m.contains("$RepresentationID$"))
    };
    if !own_folder("media") || !own_folder("initialization") {
        faults.push("representations share their segments' names".to_owned());
    }
    let counts = |m: &str| m.contains("$Number") != m.contains("$Time");
    if !named(set, "SegmentTemplate").filter_map(|t| t.attribute("media")).all(counts) {
        faults.push("media names no segment by number or by time".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages whose manifests a person reviewed: the plan's golden texts.
    const GOLDEN: [&str; 4] = [
        include_str!("../../coordinator/plan/tests/golden/manifests/surround.txt"),
        include_str!("../../coordinator/plan/tests/golden/manifests/ntsc_film.txt"),
        include_str!("../../coordinator/plan/tests/golden/manifests/screen_vfr.txt"),
        include_str!("../../coordinator/plan/tests/golden/manifests/sound_only.txt"),
    ];

    fn good() -> String {
        mpd(GOLDEN[0])
    }

    fn mpd(golden: &str) -> String {
        let from = golden.find("<?xml").expect("an MPD");
        let to = golden.find("</MPD>").expect("its end") + "</MPD>".len();
        golden[from..to].to_owned()
    }

    #[test]
    fn reviewed_mpds_have_no_fault() {
        for golden in GOLDEN {
            assert_eq!(faults(&mpd(golden)).expect("XML"), Vec::<String>::new());
        }
    }

    #[test]
    fn every_damage_is_told() {
        let damages = [
            ("dash:schema:mpd:2011", "dash:schema:mpd:2012", "namespace"),
            (" minBufferTime=", " minbuffertime=", "MPD@minBufferTime is missing"),
            ("duration=\"PT30S\"", "duration=\"30\"", "Period@duration has the form of nothing"),
            ("duration=\"PT30S\"", "duration=\"PT30.S\"", "Period@duration has the form of nothing"),
            ("start=\"PT0S\"", "start=\"P0S\"", "Period@start has the form of nothing"),
            ("type=\"static\"", "type=\"vod\"", "MPD@type has the form of nothing"),
            ("AdaptationSet id=\"2\"", "AdaptationSet id=\"1\"", "AdaptationSet@id 1 is there twice"),
            ("id=\"360p-309f1fa967\"", "id=\"480p-fa18c72b9a\"", "is there twice"),
            ("id=\"360p-309f1fa967\"", "id=\"360p 309f1fa967\"", "Representation@id has the form of nothing"),
            (
                "bandwidth=\"1396277\"",
                "bandwidth=\"1396277.5\"",
                "Representation@bandwidth has the form of nothing",
            ),
            ("bandwidth=\"1396277\" ", "", "Representation@bandwidth is missing"),
            (" codecs=\"avc1.64001f\"", "", "Representation@codecs is missing"),
            ("sar=\"1:1\"", "sar=\"1/1\"", "Representation@sar has the form of nothing"),
            ("frameRate=\"24\"", "frameRate=\"23.976\"", "Representation@frameRate has the form of nothing"),
            ("lang=\"en\"", "lang=\"english language\"", "AdaptationSet@lang has the form of nothing"),
            (
                "segmentAlignment=\"true\"",
                "segmentAlignment=\"yes\"",
                "segmentAlignment has the form of nothing",
            ),
            ("<S t=\"0\" d=\"96000\" r=\"6\"/>", "<S t=\"0\" r=\"6\"/>", "S@d is missing"),
            ("d=\"96000\"", "d=\"0\"", "S@d has the form of nothing"),
            ("<Label>English</Label>\n", "", ""),
            ("<SegmentTimeline>", "<SegmentTimeline><BaseURL/>", "BaseURL is no element"),
            ("maxWidth=\"854\"", "maxWidth=\"640\"", "maxWidth is not the largest width"),
            ("contentType=\"video\"", "contentType=\"audio\"", "is not of mimeType"),
            (" width=\"640\"", "", "representation without width"),
            ("$RepresentationID$/$Number", "all/$Number", "share their segments' names"),
            ("$Number%06d$", "one", "names no segment"),
            ("sar=\"1:1\"", "sar=\"1:1\" colour=\"red\"", "Representation@colour is unknown"),
        ];
        let good = good();
        for (from, to, told) in damages {
            assert!(good.contains(from), "{from:?} is not in the MPD");
            let found = faults(&good.replacen(from, to, 1)).expect("XML");
            match told {
                "" => assert_eq!(found, Vec::<String>::new(), "an optional element may be missing: {from}"),
                told => assert!(found.iter().any(|f| f.contains(told)), "{from} -> {to}: {found:?}"),
            }
        }
    }

    #[test]
    fn elements_have_an_order() {
        let good = good();
        let label = "<Label>English</Label>";
        let (before, after) = good.split_once(label).expect("a label");
        let moved =
            format!("{before}{}", after.replacen("<SegmentTemplate", &format!("{label}<SegmentTemplate"), 1));
        let found = faults(&moved).expect("XML");
        assert!(found.iter().any(|f| f.contains("out of order")), "{found:?}");
    }
}
