// The columns of the table: what is shown, and by what it is sorted.

const byNumber = (a, b) => a - b;
const natural = new Intl.Collator("en", { numeric: true }).compare;

// `verdictAt(i)` is the verdict of row i at the tolerances of the moment.
function columnsOf(ways, verdictAt) {
  const main = ways[0];
  const metric = (way, key) => (row) => (row[way] ? row[way][key] : row[`${way}_shape`] ? Infinity : null);
  return [
    {
      key: "at",
      title: "#",
      width: "40px",
      value: (row, i) => i,
      text: (row, i) => String(i + 1),
      compare: byNumber,
    },
    {
      key: "name",
      title: "layer",
      width: "minmax(246px,1fr)",
      value: (row) => row.name,
      text: (row) => row.name,
      compare: natural,
    },
    {
      key: "verdict",
      title: "verdict",
      width: "84px",
      value: (row, i) => VERDICTS.indexOf(verdictAt(i)),
      text: null,
      compare: byNumber,
    },
    ...ways.map((way) => ({
      key: way,
      title: way,
      width: "76px",
      right: true,
      value: metric(way, "relative"),
      compare: byNumber,
      hint:
        way === "chained"
          ? "Relative error, fed by its own predecessors"
          : "Relative error, fed PyTorch’s values: its own error",
      text: (row) =>
        row[way]
          ? short(row[way].relative)
          : row[`${way}_shape`]
            ? sized(row[`${way}_shape`])
            : way === "isolated" && row.isolated_error
              ? "failed"
              : "",
    })),
    {
      key: "max_abs",
      title: "max diff",
      width: "60px",
      right: true,
      value: metric(main, "max_abs"),
      text: (row) => short(row[main] && row[main].max_abs),
      compare: byNumber,
      hint: `Largest difference of two values, ${main}`,
    },
    {
      key: "outside",
      title: "outside",
      width: "58px",
      right: true,
      value: metric(main, "outside"),
      text: (row) => (row[main] ? percent(row[main].outside) : ""),
      compare: byNumber,
      hint: `Share of the values out of the run’s tolerance, ${main}`,
    },
    {
      key: "type",
      title: "type",
      width: "100px",
      value: (row) => row.type,
      text: (row) => row.module_type || row.layer_type,
      compare: natural,
    },
    {
      key: "shape",
      title: "shape",
      width: "104px",
      value: (row) => row.shape.reduce((a, b) => a * b, 1),
      text: (row) => sized(row.shape),
      compare: byNumber,
    },
    {
      key: "cosine",
      title: "cosine",
      width: "66px",
      right: true,
      value: metric(main, "cosine"),
      text: (row) => (row[main] ? row[main].cosine.toFixed(6) : ""),
      compare: byNumber,
      hint: `Cosine of the angle between both tensors, ${main}`,
    },
  ];
}
