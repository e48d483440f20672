// The verdicts, by the same rule as in Python: Row.verdict and Report.first_bad, from the tolerance that each needs.

const VERDICTS = ["own error", "wrong", "inherited", "ok"]; // worst first

function agrees(metrics, shape, tolerance) {
  return shape === null && (metrics === null || metrics.needed <= tolerance);
}

function verdictOf(row, tolerance) {
  const isolated = agrees(row.isolated, row.isolated_shape, tolerance.isolated);
  if (!isolated) return "own error";
  if (agrees(row.chained, row.chained_shape, tolerance.chained)) {
    return row.isolated_error && row.chained === null ? "wrong" : "ok";
  }
  return row.isolated === null ? "wrong" : "inherited";
}

// Verdicts of all rows, how many there are of each, and the index of the first wrong one; -1 if there is none.
function judge(rows, tolerance, inputsDiffer = false) {
  const verdicts = rows.map((row) => verdictOf(row, tolerance));
  const counts = Object.fromEntries(VERDICTS.map((word) => [word, 0]));
  for (const word of verdicts) counts[word] += 1;
  const own = verdicts.indexOf("own error");
  const first = own >= 0 ? own : verdicts.findIndex((word) => word !== "ok");
  return { verdicts, counts, first, ok: first < 0 && !inputsDiffer && !rows.some((row) => row.void) };
}
