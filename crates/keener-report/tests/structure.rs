//! What every picture and page must be: well-formed, escaped, on its own, and robust to bad data.

use keener_report::cells;
use keener_report::html::{Block, CalloutKind, Page, Section};
use keener_report::plot::{
    self, Axis, BarSeries, Bars, Confusion, Emphasis, Histogram, Interval, Intervals, Lines, Mark, Reliability,
    ReliabilityBin, Sample, Scatter, Series, Size, Svg,
};
use keener_report::table::{Cell, Column, Table, Tone};

/// Text that would run, break out of an attribute or end an element if it were not escaped.
const EVIL: &str = "\"><script>alert('x')</script><img src=http://evil.example/x onerror=a>&\u{1b}]]>";

/// The numbers that data can hold at their worst.
const BAD: [f64; 8] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, -0.0, 0.0];

/// Every plot with `text` in each of its texts and `values` for its numbers.
fn all_plots(text: &str, values: &[f64]) -> Vec<Svg> {
    let axis = |log: bool| Axis { label: text.into(), log, range: None };
    let pairs: Vec<(f64, f64)> = values.iter().zip(values.iter().rev()).map(|(a, b)| (*a, *b)).collect();
    let title = || text.to_string();
    let mut svgs = Vec::new();
    for log in [false, true] {
        for square in [false, true] {
            let series = (0..3).map(|_| Series::new(text, pairs.clone()).band(pairs.clone())).collect();
            svgs.push(plot::lines(&Lines {
                title: title(),
                x: axis(log),
                y: axis(log),
                series,
                marks: values.iter().map(|&v| Mark::new(v, text)).collect(),
                diagonal: true,
                square,
                size: Size::default(),
            }));
        }
        svgs.push(plot::scatter(&Scatter {
            title: title(),
            x: axis(log),
            y: axis(log),
            points: pairs.clone(),
            labels: (0..pairs.len()).map(|i| i * 7).collect(),
            classes: vec![text.into(); 2],
            equal: true,
            ..Scatter::default()
        }));
        svgs.push(plot::histogram(&Histogram {
            title: title(),
            x: axis(log),
            samples: vec![Sample::new(text, values.to_vec()), Sample::new(text, values.to_vec())],
            marks: values.iter().map(|&v| Mark::new(v, text)).collect(),
            ..Histogram::default()
        }));
        let rows = values.iter().map(|&v| Interval::new(text, v, -v, v).emphasis(Emphasis::Best));
        svgs.push(plot::intervals(&Intervals {
            title: title(),
            x: axis(log),
            rows: rows.collect(),
            reference: values.first().map(|&v| Mark::new(v, text)),
            ..Intervals::default()
        }));
    }
    svgs.push(plot::bars(&Bars {
        title: title(),
        x: axis(true),
        categories: vec![text.into(); 2],
        series: vec![BarSeries::new(text, values.to_vec()), BarSeries::new(text, values.to_vec())],
        ..Bars::default()
    }));
    let bin = |&v: &f64| ReliabilityBin { low: 0.0, high: 0.5, confidence: v, accuracy: v, count: 3 };
    svgs.push(plot::reliability(&Reliability { title: title(), bins: values.iter().map(bin).collect(), size: None }));
    for size in [values.len(), 40, 130] {
        let counts = (0..size).map(|t| (0..size).map(|p| (t * p) as u64).collect()).collect();
        svgs.push(plot::confusion(&Confusion { title: title(), classes: vec![text.into(); values.len()], counts }));
    }
    svgs
}

fn page(text: &str, svgs: Vec<Svg>) -> String {
    let table = Table::new(text)
        .column(Column::text(text).note(text))
        .column(Column::number(text, 2).unit(text))
        .row(cells![text, f64::NAN])
        .row(cells![Cell::badge(text, Tone::Bad), Cell::interval(f64::NAN, 0.0, f64::INFINITY)])
        .note(text);
    let mut section = Section::new(text)
        .id(text)
        .intro(text)
        .paragraph(text)
        .table(table.clone())
        .code(text, text)
        .key_values([(text, text)])
        .details(text, [Block::Paragraph(text.into()), Block::Table(table)])
        .callout(CalloutKind::Warning, text)
        .figures(svgs.iter().take(2).cloned().map(|svg| (svg, text)));
    for svg in svgs {
        section = section.figure(svg, text);
    }
    let mut page = Page::new(text).subtitle(text).footer(text).section(section.clone()).section(section);
    page.language = text.into();
    page.render()
}

/// Every number in the attributes that place something is finite, and texts are within the picture.
fn check_svg(svg: &Svg) {
    for markup in [svg.inline(), svg.standalone()] {
        let tree = roxmltree::Document::parse(&markup).unwrap_or_else(|e| panic!("{e}\n{markup}"));
        let root = tree.root_element();
        let view: Vec<f64> = root.attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(view[2..], [svg.width(), svg.height()]);
        let child = |name: &str| root.children().find(|n| n.has_tag_name(name) || n.tag_name().name() == name);
        assert!(!child("title").unwrap().text().unwrap_or_default().is_empty(), "a name for screen readers");
        assert!(!child("desc").unwrap().text().unwrap_or_default().is_empty(), "a description");
        for node in tree.descendants() {
            for name in ["x", "y", "width", "height"] {
                if let Some(value) = node.attribute(name) {
                    assert!(value.parse::<f64>().unwrap().is_finite(), "{value}");
                }
            }
            if let Some(d) = node.attribute("d") {
                assert!(!d.contains("NaN") && !d.contains("inf"), "{d}");
            }
            if node.tag_name().name() == "text" {
                let at = ["x", "y"].map(|a| node.attribute(a).unwrap().parse::<f64>().unwrap());
                let inside = at[0] >= 0.0 && at[0] <= view[2] && at[1] >= 0.0 && at[1] <= view[3];
                assert!(inside, "{at:?} outside of {view:?}: {:?}\n{markup}", node.text());
            }
        }
    }
}

#[test]
fn every_plot_is_well_formed_whatever_the_data() {
    let many: Vec<f64> = (0..300).map(|i| f64::from(i) * 0.37 - 20.0).collect();
    let mixed: Vec<f64> = BAD.iter().copied().chain([1.0, 2.0, 3.0]).collect();
    let cases: [&[f64]; 9] = [&[], &[1.0], &[0.0], &[2.5; 6], &BAD, &mixed, &many, &[1e-12, 2e-12], &[1e9, 3e9]];
    for values in cases {
        for text in ["", "name", &"a very long name that has to be cut ".repeat(6), EVIL] {
            for svg in all_plots(text, values) {
                check_svg(&svg);
            }
        }
    }
}

#[test]
fn what_is_left_out_is_said() {
    for svg in all_plots("t", &[1.0, f64::NAN, 2.0]) {
        let told = svg.desc().contains("left out") || svg.desc().starts_with("Confusion");
        assert!(told, "{}: {}", svg.title(), svg.desc());
    }
    for svg in all_plots("t", &[0.25, 0.5]) {
        // Some of the intervals go from -v to v, which a logarithmic axis cannot show.
        let told = svg.desc().contains("left out") && !svg.desc().contains("with intervals");
        assert!(!told, "{}: {}", svg.title(), svg.desc());
    }
}

#[test]
fn sizes_are_held_within_bounds() {
    for (width, height) in [(0.0, 0.0), (f64::NAN, -5.0), (1e9, f64::INFINITY)] {
        let size = Size { width, height };
        let svg = plot::lines(&Lines { series: vec![Series::indexed("a", [1.0, 2.0])], size, ..Lines::default() });
        check_svg(&svg);
        assert!((200.0..=2000.0).contains(&svg.width()), "{}", svg.width());
    }
}

#[test]
fn no_text_becomes_markup() {
    let html = page(EVIL, all_plots(EVIL, &[1.0, 2.0, 3.0]));
    let own = page("harmless", all_plots("harmless", &[1.0, 2.0, 3.0]));
    assert_eq!(html.matches("<script").count(), 1, "only the page's own");
    assert_eq!(own.matches("<script").count(), 1);
    assert!(!html.contains("<img") && !html.contains("alert('x')"));
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(!html.contains('\u{1b}'));
    // No kind of element or attribute that harmless text does not give.
    let kinds = |page: &str| {
        let xml = body_as_xml(page);
        let tree = roxmltree::Document::parse(&xml).unwrap();
        let elements = tree.descendants().filter(|n| n.is_element());
        let kinds = elements.flat_map(|n| {
            let tag = n.tag_name().name().to_string();
            let attributes = n.attributes().map(|a| a.name().to_string()).collect::<Vec<_>>();
            [vec![tag], attributes].concat()
        });
        kinds.collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(kinds(&html).difference(&kinds(&own)).filter(|kind| *kind != "wbr").count(), 0, "{:?}", kinds(&html));
}

/// The page's body with the elements closed that HTML leaves open.
fn body_as_xml(html: &str) -> String {
    let body = html.split_once("<body>").unwrap().1.split_once("<script>").unwrap().0;
    format!("<body>{}</body>", body.replace("<br>", "<br/>").replace("<wbr>", "<wbr/>"))
}

/// The page without what HTML leaves open is XML, so that no element is left open by mistake.
#[test]
fn the_page_closes_what_it_opens() {
    for text in ["plain", EVIL] {
        let html = page(text, all_plots(text, &[1.0, 2.0]));
        let xml = body_as_xml(&html);
        let tree = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e}"));
        let mut ids = std::collections::HashSet::new();
        for id in tree.descendants().filter_map(|n| n.attribute("id")) {
            assert!(ids.insert(id), "{id} twice");
        }
        for link in tree.descendants().filter(|n| n.has_tag_name("a")) {
            assert!(ids.contains(link.attribute("href").unwrap().trim_start_matches('#')));
        }
    }
}

#[test]
fn the_output_refers_to_nothing_outside() {
    let html = page("plain", all_plots("plain", &[1.0, 2.0]));
    for reference in ["http:", "https:", "//", "src=", "url(", "@import", "<link", "<iframe", "data:"] {
        assert!(!html.contains(reference), "{reference}");
    }
    for svg in all_plots("plain", &[1.0, 2.0]) {
        let file = svg.to_string().replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert!(!file.contains("http") && !file.contains("url(") && !file.contains("href"));
    }
}

#[test]
fn both_schemes_define_every_variable_that_is_used() {
    let html = page("plain", all_plots("plain", &[1.0, 2.0]));
    let defined = |name: &str| html.matches(&format!("{name}:")).count();
    for part in html.split("var(--").skip(1) {
        let name = format!("--{}", part.split([')', ',']).next().unwrap());
        match name.as_str() {
            "--line" | "--soft" | "--best" | "--good" | "--bad" | "--warn" | "--note" => {
                assert_eq!(defined(&name), 2, "{name}")
            }
            name if name.starts_with("--kr-") => assert_eq!(defined(name), 2, "{name}"),
            name => assert!(defined(name) >= 1, "{name}"),
        }
    }
}
