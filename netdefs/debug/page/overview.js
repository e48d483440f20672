// The top: what is wrong, whose error it is and why, with the numbers before and after.

function beforeAfter(cause) {
  if (!cause || cause.after === null) return null;
  const how = cause.modelled
    ? "PyTorch with the same mistake gives the network’s values"
    : "without it the network gives PyTorch’s values";
  const before = cause.before === null ? "another shape" : exact(cause.before);
  return element(
    "div",
    { class: "proof" },
    element("div", { class: "number bad" }, element("b", {}, before), element("span", {}, "before")),
    element("div", { class: "arrow", "aria-hidden": "true" }, "→"),
    element("div", { class: "number good" }, element("b", {}, exact(cause.after)), element("span", {}, "after")),
    element("p", {}, `Relative error. ${how[0].toUpperCase()}${how.slice(1)}.`),
  );
}

function causeText(cause) {
  if (!cause) return null;
  const text = cause.after === null ? `None of the known causes explains it: ${cause.text}.` : `${cause.text}.`;
  return text[0].toUpperCase() + text.slice(1);
}

function ownership(row, verdict, mode) {
  if (verdict === "own error") {
    const fed = row.fed.slice(0, 3).join(", ") + (row.fed.length > 3 ? " …" : "");
    return fed ? `Wrong even when fed PyTorch’s values of ${fed}: the error is its own.` : "The error is its own.";
  }
  if (verdict === "inherited") {
    return "No layer has an error of its own: small differences add up, and here they leave the tolerance.";
  }
  if (row.isolated_error) return `Whose error it is can’t be told: ${row.isolated_error}`;
  return mode === "chained"
    ? 'Whether the error is its own or comes from before it was not measured: compare with mode="both".'
    : "";
}

function headline(report, state, go) {
  const { judged } = state;
  if (judged.first < 0) {
    const text = judged.ok ? "Agrees with PyTorch" : "Nothing can be said";
    const moved = state.moved
      ? "At these tolerances every compared layer and output agrees."
      : report.answers.outputs;
    return element(
      "div",
      { class: `headline ${judged.ok ? "fine" : "void"}` },
      element("p", { class: "kicker" }, judged.ok ? "All layers" : "Undecided"),
      element("h1", {}, text),
      element("p", { class: "why" }, moved),
    );
  }
  const row = report.rows[judged.first];
  const verdict = judged.verdicts[judged.first];
  const kicker = verdict === "inherited" ? "First layer out of tolerance" : "First wrong layer";
  const searched =
    state.moved && verdict === "own error"
      ? "No cause was searched for it: at the run’s tolerance it is none of the first three with errors of their own."
      : "";
  return element(
    "div",
    { class: "headline broken" },
    element("p", { class: "kicker" }, kicker, chip(verdict)),
    element(
      "h1",
      {},
      element(
        "a",
        {
          href: `#${encodeURIComponent(row.name)}`,
          onclick: (event) => {
            event.preventDefault();
            go(judged.first, true);
          },
        },
        breakable(row.name),
      ),
      element("small", {}, row.module_type || row.layer_type),
    ),
    element("p", { class: "why" }, causeText(row.cause) || searched || ownership(row, verdict, report.mode)),
    beforeAfter(row.cause),
    row.cause || searched ? element("p", { class: "whose" }, ownership(row, verdict, report.mode)) : null,
  );
}

// A name that may break after its dots.
function breakable(name) {
  return name.split(/(?<=[./])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
}

function tally(report, state, pick) {
  const outputs = report.rows
    .map((row, i) => [row, state.judged.verdicts[i]])
    .filter(([row]) => row.kind === "output");
  const wrong = outputs.filter(([, verdict]) => verdict !== "ok").length;
  const words = {
    "own error": "with an error of their own",
    wrong: "wrong",
    inherited: "inherit an error",
    ok: "agree",
  };
  const one = {
    "own error": "with an error of its own",
    wrong: "wrong",
    inherited: "inherits an error",
    ok: "agrees",
  };
  const total = report.rows.length;
  const parts = VERDICTS.filter((verdict) => state.judged.counts[verdict]);
  return element(
    "div",
    { class: "tally" },
    element(
      "div",
      { class: "bar", role: "img", "aria-label": parts.map((v) => `${state.judged.counts[v]} ${v}`).join(", ") },
      parts.map((v) =>
        element("i", { class: SLUGS[v], style: `flex-grow:${Math.max(state.judged.counts[v], total / 150)}` }),
      ),
    ),
    element(
      "ul",
      {},
      parts.map((v) =>
        element(
          "li",
          {},
          element(
            "button",
            { class: SLUGS[v], title: "Show only these in the table", onclick: () => pick(v) },
            element("b", {}, state.judged.counts[v].toLocaleString("en")),
            " ",
            state.judged.counts[v] === 1 ? one[v] : words[v],
          ),
        ),
      ),
      outputs.length
        ? element(
            "li",
            { class: wrong ? "outputs bad" : "outputs" },
            wrong
              ? `${wrong} of ${plural(outputs.length, "output")} wrong`
              : `${plural(outputs.length, "output")} right`,
          )
        : null,
    ),
  );
}

function answersList(report, state, go) {
  const names = new Map(report.rows.map((row, i) => [row.name, i]));
  return element(
    "section",
    { class: "answers" },
    element("h2", {}, "In order", state.moved ? element("small", {}, "as they were at the run’s tolerance") : null),
    element(
      "dl",
      {},
      Object.entries(report.answers).flatMap(([question, answer]) => [
        element("dt", {}, question),
        element("dd", {}, linked(answer, names, go)),
      ]),
    ),
  );
}

// Text in which the names of layers lead to them.
function linked(text, names, go) {
  return text
    .split(/([\w./-]*\w)/)
    .map((part) => (names.has(part) && !/^\d*$/.test(part) ? rowLink(part, names.get(part), go) : part));
}
