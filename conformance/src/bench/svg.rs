//! The same as a picture: for each workload a bar for each runtime, as long as its median wall time, with a line from p10 to p90.

use std::fmt::Write;

use super::statistics::float;
use super::table::Outcome;

const LEFT: f64 = 260.0;
const WIDTH: f64 = 600.0;
const BAR: f64 = 14.0;
const COLOURS: [&str; 5] = ["#2a6f97", "#e07a3f", "#7a9e3a", "#8d5a97", "#777777"];

/// The whole document.
pub(super) fn draw(outcome: &Outcome) -> String {
    let cells = || outcome.lines.iter().flat_map(|line| &line.cells);
    let longest = cells().map(|cell| cell.wall.p90).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |ms: f64| ms / longest * WIDTH;
    let rows = float(u64::try_from(cells().count() + outcome.lines.len()).unwrap_or(0));
    let height = 40.0 + rows * BAR;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <text x=\"8\" y=\"20\" font-size=\"13\">Wall time in ms: median, p10 to p90</text>\n",
        LEFT + WIDTH + 80.0
    );
    let mut y = 36.0;
    for line in &outcome.lines {
        // Writing to a string cannot fail.
        let _written =
            writeln!(text, "<text x=\"8\" y=\"{:.0}\">{}</text>", y + 10.0, escape(&line.workload));
        for cell in &line.cells {
            let at = outcome.runtimes.iter().position(|(name, _)| *name == cell.runtime).unwrap_or(4);
            let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or("#777777");
            let (middle, end) = (y + BAR / 2.0, LEFT + scale(cell.wall.p90));
            let _written = writeln!(
                text,
                "<rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
                 <path d=\"M{:.1} {middle:.0}H{end:.1}\" stroke=\"#222\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{} {:.2}</text>",
                y + 1.0,
                scale(cell.wall.median),
                BAR - 2.0,
                LEFT + scale(cell.wall.p10),
                end + 4.0,
                y + 11.0,
                escape(&cell.runtime),
                cell.wall.median,
            );
            y += BAR;
        }
        y += BAR;
    }
    text + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
