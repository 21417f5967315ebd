//! Plots of the figures. Each plot is written to `docs/plots/NAME.svg` if `BENCH_PLOTS` is set.

use std::{env, fs, path::Path};

use plotters::prelude::*;

const SIZE: (u32, u32) = (720, 320);
const FONT: &str = "sans-serif";
const COLORS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x6f, 0xb4),
    RGBColor(0xd9, 0x6b, 0x0c),
    RGBColor(0x2b, 0x8a, 0x3e),
    RGBColor(0x7a, 0x4f, 0xb0),
];
/// The start of the logarithmic time axis, which has no zero. Shorter times are drawn at the start.
const SHORTEST_MS: f64 = 0.05;

/// Draws the cumulative distribution of each series of samples. The samples are sorted and in
/// milliseconds.
pub(crate) fn distribution(name: &str, title: &str, series: &[(&str, &[f64])]) {
    draw(name, |area| {
        let longest =
            series.iter().filter_map(|(_, samples)| samples.last().copied()).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d((SHORTEST_MS..longest * 1.2).log_scale(), 0.0..100.0)?;
        chart
            .configure_mesh()
            .x_desc("milliseconds (logarithmic)")
            .y_desc("% of revocations")
            .label_style((FONT, 13))
            .light_line_style(WHITE)
            .draw()?;
        for (&(label, samples), color) in series.iter().zip(COLORS) {
            let part = 100.0 / samples.len() as f64;
            let points = samples.iter().enumerate();
            let points =
                points.map(|(number, &ms)| (ms.max(SHORTEST_MS), (number + 1) as f64 * part));
            chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?.label(label).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)),
            );
        }
        chart
            .configure_series_labels()
            // The curves rise from the lower left to the upper right, so this corner is free.
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 13))
            .draw()?;
        Ok(())
    });
}

/// Draws one bar for each value.
pub(crate) fn bars(name: &str, title: &str, unit: &str, values: &[(&str, f64)]) {
    draw(name, |area| {
        let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let count = values.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 18))
            .margin(12)
            .x_label_area_size(40)
            .build_cartesian_2d(-0.6 * most..most * 1.25, 0.0..count)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_y_axis()
            .x_desc(unit)
            .label_style((FONT, 13))
            .x_label_formatter(&|value| {
                if *value < 0.0 { String::new() } else { format!("{value:.0}") }
            })
            .draw()?;
        for (number, &(label, value)) in values.iter().enumerate() {
            let top = count - number as f64;
            let color = COLORS[number % COLORS.len()];
            let bar = [(0.0, top - 0.2), (value, top - 0.8)];
            let middle = top - 0.42;
            let text = (FONT, 14).into_font();
            chart.draw_series([Rectangle::new(bar, color.filled())])?;
            chart.draw_series([
                Text::new(label.to_owned(), (-0.59 * most, middle), text.clone()),
                Text::new(format!("{value:.0}"), (value + 0.02 * most, middle), text),
            ])?;
        }
        Ok(())
    });
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(name: &str, draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>) {
    if env::var_os("BENCH_PLOTS").is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.svg"));
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE).unwrap();
    draw(&area).unwrap();
    area.present().unwrap();
    println!("# drew docs/plots/{name}.svg");
}
