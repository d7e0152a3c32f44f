//! Columns: cells padded to a width, two blanks apart, no trailing blanks.

/// How wide each column is, and whether it is aligned to the right, as numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    widths: Vec<usize>,
    right: Vec<bool>,
}

impl Columns {
    /// As many columns as `alignment` has letters, `l` or `r`, each wide enough for what `rows` has in it.
    pub(crate) fn fitting<'c>(alignment: &str, rows: impl IntoIterator<Item = &'c [String]>) -> Self {
        let right: Vec<bool> = alignment.bytes().map(|letter| letter == b'r').collect();
        let mut widths = vec![0; right.len()];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        Columns { widths, right }
    }

    /// A row, without the end of the line. Cells that are wider than their column push the rest along.
    pub(crate) fn line(&self, cells: &[String]) -> String {
        let pad = |((cell, &width), &right): ((&String, &usize), &bool)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        };
        let cells: Vec<String> = cells.iter().zip(&self.widths).zip(&self.right).map(pad).collect();
        cells.join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["bcd", "22"]].map(|row| row.map(str::to_owned));
        let columns = Columns::fitting("lr", rows.iter().map(|row| &row[..]));
        let lines: Vec<String> = rows.iter().map(|row| columns.line(row)).collect();
        assert_eq!(lines, ["a     1", "bcd  22"]);
    }
}
