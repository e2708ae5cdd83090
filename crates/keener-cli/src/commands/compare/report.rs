//! `report.html`.

use super::{Compared, figures, results, tables};
use anyhow::Result;
use keener_burn::compare::{self, Board, Candidate, HeadChoice, Scenario, Task, Unit};
use keener_data::noise::NoiseKind;
use keener_report::html::{Block, CalloutKind, Page, Section};

/// The whole page.
pub(crate) fn page(compared: &Compared<'_>) -> Result<Page> {
    let (plan, config) = (compared.plan, &compared.plan.config);
    let subtitle = format!(
        "{} objectives on {}: {} rows, {} features, {} classes. {} steps a training, {} repeats.",
        config.objectives.len(),
        plan.data,
        plan.rows,
        plan.features,
        plan.classes,
        config.steps,
        config.repeats
    );
    let mut page =
        Page::new(format!("Which objective for {}?", plan.data)).subtitle(subtitle).section(summary(compared));
    for board in &compared.boards {
        page = page.section(scenario(compared, board));
    }
    for board in &compared.boards {
        if let Some(section) = winner(compared, board)? {
            page = page.section(section);
        }
    }
    let footer = format!(
        "keener {}. Everything here is also in results.json; every training is a line of units.jsonl.",
        plan.version
    );
    Ok(page.section(method(compared)).footer(footer))
}

fn summary(compared: &Compared<'_>) -> Section {
    let mut section = Section::new("Result");
    for board in &compared.boards {
        let kind = if board.tied().is_empty() { CalloutKind::Success } else { CalloutKind::Note };
        section = section.callout(kind, format!("{}: {}", board.scenario.title(), board.sentence()));
    }
    section
}

fn about(compared: &Compared<'_>, scenario: Scenario) -> String {
    let config = &compared.plan.config;
    match scenario {
        Scenario::Full => "All training labels, as they are.".into(),
        Scenario::FewLabels => format!(
            "{} labelled rows a class to train on, half as many to fit the temperature; test rows are at most twice the \
             training rows, because the correction of the intervals grows with that ratio.",
            config.labels_per_class
        ),
        Scenario::NoisyLabels => format!(
            "{:.0} % of the training labels and of the validation labels are wrong, {}. \
             Test labels are true. The temperature is fitted on noisy labels too, so probabilities come out less sure than they \
             could be.",
            100.0 * config.noise,
            match config.noise_kind {
                NoiseKind::Uniform => "drawn uniformly from the other classes",
                NoiseKind::ClassDependent => "each that of the next class",
            }
        ),
        Scenario::Imbalanced => format!(
            "Classes of falling size, the rarest with 1/{} of the rows of the most frequent, in training and in test.",
            config.imbalance
        ),
        Scenario::UnseenClasses => {
            "Training on half of the classes; every test row of the other half is a query among the \
             other test rows. Which classes are trained on differs between repeats."
                .into()
        }
    }
}

fn scenario(compared: &Compared<'_>, board: &Board) -> Section {
    let units: Vec<&Unit> = compared.outcome.units.iter().filter(|u| u.scenario == board.scenario).collect();
    let mut section = Section::new(board.scenario.title())
        .intro(about(compared, board.scenario))
        .table(tables::board(board))
        .figure(figures::forest(board), "Filled marks are not distinguishable from the best.")
        .figure(
            figures::differences(board),
            "Paired by repeat. Intervals here are not corrected for the number of objectives; the p-values of the table are.",
        )
        .figure(figures::curves(board, &units), "First repeat; each point is a mean over some steps. Heights of unlike losses do not compare.");
    let maps = figures::maps(board, &units, compared.data);
    if !maps.is_empty() {
        section = section
            .paragraph(
                "Embeddings of test rows (first repeat), brought to length one, on their two principal directions:",
            )
            .figures(maps);
    }
    match board.scenario.task() {
        Task::Classify => {
            let mut pictures: Vec<(keener_report::Svg, String)> = Vec::new();
            pictures
                .extend(figures::confusion(board, &units, compared.data).map(|svg| (svg, "First repeat.".to_string())));
            pictures
                .extend(figures::roc(board, &units).map(|svg| (svg, "First repeat, all classes pooled.".to_string())));
            section = section.figures(pictures);
            let reliability = figures::reliability(board, &units, 3);
            section = tables::probabilities(board).into_iter().fold(section, Section::table);
            if !reliability.is_empty() {
                let grid = reliability.into_iter().map(|(svg, caption)| keener_report::html::Figure { svg, caption });
                section = section.details(
                    "Reliability of the first three, before and after temperature scaling",
                    [Block::FigureGrid(grid.collect())],
                );
            }
        }
        Task::Retrieve => section = section.figures(figures::similarities(board, &units)),
    }
    let failed = board.rows.iter().filter_map(|r| Some(format!("`{}`: {}", r.objective, r.reason.as_ref()?)));
    failed.fold(section, |section, text| section.callout(CalloutKind::Error, text))
}

fn winner(compared: &Compared<'_>, board: &Board) -> Result<Option<Section>> {
    let Some(row) = board.winner() else { return Ok(None) };
    let config = &compared.plan.config;
    let candidate = Candidate::new(&row.objective, config.head).map_err(super::shown)?;
    let classes = compared.data.num_classes();
    Ok(Some(
        Section::new(format!("{}: the best as code", board.scenario.title()))
            .intro(format!("`{}` at learning rate {}.", row.chosen.spec, row.chosen.learning_rate))
            .code("rust", compare::burn_code(&candidate, config, &row.chosen, classes))
            .code("python", compare::pytorch_code(&row.chosen.spec)),
    ))
}

fn head_words(compared: &Compared<'_>) -> String {
    let config = &compared.plan.config;
    let trunk = format!("{} → {} (ReLU) → {}", compared.plan.features, config.hidden, config.embedding);
    match config.head {
        HeadChoice::Auto => format!(
            "one trunk for all, {trunk}; objectives over classes have class weights on top, compared by inner product or cosine \
             as they ask. Classes are read out by these scores, or by class means of the embeddings where no class weights are \
             trained"
        ),
        HeadChoice::Linear => "class weights on the features, no trunk".into(),
        HeadChoice::Cosine => format!("one trunk, {trunk}, and class weights compared by cosine"),
        HeadChoice::Projection => format!("one trunk, {trunk}; classes are read out by class means of the embeddings"),
    }
}

fn method(compared: &Compared<'_>) -> Section {
    let (plan, config) = (compared.plan, &compared.plan.config);
    let sizes = compared.boards.iter().map(|b| {
        (
            format!("rows, {}", b.scenario.title().to_lowercase()),
            format!("{} to train on, {} to test, each repeat", b.train_rows, b.test_rows),
        )
    });
    let mut pairs: Vec<(String, String)> = vec![
        ("data".into(), format!("{} (content {})", compared.data.source(), plan.fingerprint)),
        ("heads".into(), head_words(compared)),
        ("budget".into(), format!("{} steps of {} rows for every objective, AdamW, weight decay {}, 5 % warm-up, cosine decay to zero", config.steps, config.batch, config.weight_decay)),
        ("batches".into(), "shuffled rows; for objectives over the pairs of a batch, several rows of each of some classes; for objectives over two views, rows with another row of the same class as second view (other rows of the class are no negatives)".into()),
        ("splits".into(), "40 % of the rows are for tuning alone; every repeat divides the other 60 % anew: 50 % to train on, 15 % to validate, 35 % to test, unless the scenario says otherwise. Features are standardised with the mean and deviation of the rows that are trained on".into()),
        ("pairing".into(), "in one repeat all objectives see the same rows, the same initial weights of the trunk and the same order of rows".into()),
        ("tuning".into(), results::tuning_words(compared)),
        ("probabilities".into(), "softmax of the class scores; cosines are multiplied by the objective's scale (else 1/temperature, else 10). The temperature is fitted on validation rows".into()),
        ("intervals".into(), "95 %, corrected resampled t of Nadeau and Bengio; differences to the best are paired by repeat, their p-values corrected by Holm, and called differences from 0.05 on".into()),
        ("seed".into(), config.seed.to_string()),
    ];
    pairs.extend(sizes);
    pairs.push((
        "cost".into(),
        format!(
            "{:.0} s on {} threads{}",
            compared.seconds,
            compared.workers,
            compared.peak_memory.map(|b| format!(", {} MiB at most", b >> 20)).unwrap_or_default()
        ),
    ));
    Section::new("How this was measured").key_values(pairs).code("sh", &compared.command)
}
