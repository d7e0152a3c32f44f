//! Charts: lines over an axis, as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;

/// Some lines over one axis.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What is along the horizontal axis.
    pub(crate) along: String,
    /// And up the vertical one.
    pub(crate) up: String,
    /// Whether both axes are logarithmic.
    pub(crate) logarithmic: bool,
    pub(crate) lines: Vec<Line>,
    /// Limits, each a horizontal line with its name.
    pub(crate) limits: Vec<(f64, String)>,
}

/// One of them.
pub(crate) struct Line {
    pub(crate) name: String,
    /// In ascending order.
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether it keeps a value until the next, instead of going straight to it.
    pub(crate) stairs: bool,
}

const SIZE: (u32, u32) = (960, 560);
const FONT: &str = "sans-serif";
const GREY: RGBColor = RGBColor(120, 120, 120);
/// Told apart also by those who cannot tell red from green. What is sound has the same one everywhere.
const SOUND: RGBColor = RGBColor(0, 158, 115);
const COLOURS: [RGBColor; 5] =
    [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(204, 121, 167), RGBColor(86, 180, 233), RGBColor(0, 0, 0)];

impl Line {
    fn drawn(&self) -> Vec<(f64, f64)> {
        if !self.stairs {
            return self.points.clone();
        }
        let corner = |pair: &[(f64, f64)]| [pair[0], (pair[1].0, pair[0].1)];
        self.points.windows(2).flat_map(corner).chain(self.points.last().copied()).collect()
    }
}

impl Chart {
    /// As an SVG document.
    ///
    /// # Errors
    /// What the drawing library cannot do.
    pub(crate) fn svg(&self) -> Result<String, String> {
        let mut text = String::new();
        self.draw_on(SVGBackend::with_string(&mut text, SIZE)).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn draw_on<'a>(&self, backend: SVGBackend<'a>) -> Result<(), Box<dyn Error + 'a>> {
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let (least, most) = (all().map(|p| p.0).fold(f64::MAX, f64::min), all().map(|p| p.0).fold(1.0, f64::max));
        let highest = all().map(|p| p.1).chain(self.limits.iter().map(|limit| limit.0)).fold(1.0, f64::max);
        let lowest = all().map(|p| p.1).fold(highest, f64::min);
        if self.logarithmic {
            let (x, y) = (least.max(1.0)..most * 1.1, (lowest * 0.6).max(1.0)..highest * 1.6);
            self.draw(&area, x.log_scale(), y.log_scale())?;
        } else {
            self.draw(&area, 0.0..most * 1.02, 0.0..highest * 1.1)?;
        }
        Ok(area.present()?)
    }

    fn draw<'a, X, Y>(&self, area: &DrawingArea<SVGBackend<'a>, Shift>, x: X, y: Y) -> Result<(), Box<dyn Error + 'a>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 22))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        let plain = |value: &f64| if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        chart
            .configure_mesh()
            .x_desc(&self.along)
            .y_desc(&self.up)
            .x_label_formatter(&plain)
            .y_label_formatter(&plain)
            .axis_desc_style((FONT, 16))
            .label_style((FONT, 14))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(228, 228, 228))
            .draw()?;
        let ends = |range: std::ops::Range<f64>| (range.start, range.end);
        let (from, to) = ends(chart.x_range());
        for (limit, name) in &self.limits {
            chart.draw_series(DashedLineSeries::new([(from, *limit), (to, *limit)], 6, 4, GREY.stroke_width(1)))?;
            let style = (FONT, 14).into_font().color(&GREY);
            let right = style.pos(plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Right,
                plotters::style::text_anchor::VPos::Bottom,
            ));
            chart.draw_series([Text::new(name.clone(), (to, *limit), right)])?;
        }
        let mut others = COLOURS.iter().cycle();
        for line in &self.lines {
            let colour = if line.name == "sound" { &SOUND } else { others.next().expect("there is always one") };
            let style = colour.stroke_width(3);
            let series = chart.draw_series(LineSeries::new(line.drawn(), style))?;
            series.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
            if !line.stairs {
                chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 4, colour.filled())))?;
            }
        }
        // Where lines that rise, and lines that fall, leave room.
        let legend = if self.logarithmic { SeriesLabelPosition::UpperLeft } else { SeriesLabelPosition::UpperRight };
        chart
            .configure_series_labels()
            .position(legend)
            .background_style(WHITE.mix(0.9))
            .border_style(RGBColor(190, 190, 190))
            .label_font((FONT, 15))
            .legend_area_size(32)
            .margin(12)
            .draw()?;
        Ok(())
    }
}
