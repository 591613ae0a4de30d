//! Embeds hls.js into the player page when `make web` has installed it; an empty file otherwise, and the page says so.

use std::path::PathBuf;

const INSTALLED: &str = "web/node_modules/hls.js/dist/hls.min.js";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // the folder, because a missing file would mean a build at every call
    println!("cargo::rerun-if-changed=web");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("hls.min.js");
    let script = match std::fs::read_to_string(INSTALLED) {
        Ok(script) => script,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot read {INSTALLED}: {error}").into()),
    };
    // a source map beside it is not served
    let served =
        script.lines().filter(|l| !l.starts_with("//# sourceMappingURL")).collect::<Vec<_>>().join("\n");
    std::fs::write(out, served)?;
    Ok(())
}
