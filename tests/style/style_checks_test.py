#!/usr/bin/env python3
"""Tests of the style checks themselves: on a small tree, each refuses what it is there to refuse."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_files  # noqa: E402
import check_includes  # noqa: E402
import check_named_tests  # noqa: E402
import check_symbols  # noqa: E402

TABLE = """# Architecture
<!-- dependencies:begin -->
| folder | may include |
| --- | --- |
| `include` | - |
| `kernels` | `include` |
| `daemon` | `daemon/core`, `include` |
| `daemon/core` | `kernels`, `include` |
| `tests` | * |
<!-- dependencies:end -->
<!-- third-party:begin -->
| library | headers | folders |
| --- | --- | --- |
| xxHash | `xxhash.h` | `kernels` |
| Boost | `boost/` | `daemon/core` |
<!-- third-party:end -->
"""


class Tree(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.write("docs/architecture.md", TABLE)
        self.write("include/kvtier/result.hpp", "// Results.\n")
        self.write("kernels/copy.hpp", '// Copies.\n#include "kvtier/result.hpp"\n')
        self.write("daemon/core/loop.hpp", '// Loop.\n#include "kernels/copy.hpp"\n#include <boost/a.hpp>\n')

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def includes(self):
        return "\n".join(check_includes.check(self.root))

    def files(self):
        return "\n".join(check_files.check(self.root))


class NamedTests(Tree):
    PAGE = "Test: `Suite.Works`, `Suite.*`, `a_service_that_works`.\n<!-- catalogue:begin -->\n" \
           "| fault | expected | tests |\n| --- | --- | --- |\n| a bit | a miss | `Suite.Works` |\n" \
           "| a GPU | - | none: there is none |\n<!-- catalogue:end -->\n"

    def setUp(self):
        super().setUp()
        self.write("tests/a_test.cpp", "// A test.\nTEST(Suite, Works) {}\n")
        self.write("tests/service/service_test.py", "def a_service_that_works(self):\n    pass\n")

    def problems(self, page):
        self.write("docs/failures.md", page)
        return "\n".join(check_named_tests.check(self.root))

    def test_tests_that_exist_pass(self):
        self.assertEqual(self.problems(self.PAGE), "")

    def test_tests_that_do_not_exist_are_refused(self):
        self.assertIn("no test Suite.Fails", self.problems(self.PAGE + "`Suite.Fails`"))
        self.assertIn("no test Other.*", self.problems(self.PAGE + "`All/Other.*`"))
        self.assertIn("has no a_service_that_fails", self.problems(self.PAGE + "`a_service_that_fails`"))

    def test_a_row_without_a_test_is_refused(self):
        self.assertIn("names no test", self.problems(self.PAGE.replace("none: there is none", "later")))
        self.assertIn("no table", self.problems("`Suite.Works`"))


class Includes(Tree):
    def test_allowed_includes_pass(self):
        self.write("daemon/main.cpp", '// Main.\n#include "daemon/core/loop.hpp"\n#include <vector>\n')
        self.write("tests/kernels/copy_test.cpp", '// Test.\n#include "kernels/copy.hpp"\n')
        self.assertEqual(self.includes(), "")

    def test_upward_include_is_refused_with_its_line(self):
        self.write("kernels/bad.cpp", '// Bad.\n\n#include "daemon/core/loop.hpp"\n')
        self.assertIn("kernels/bad.cpp:3: kernels may not include daemon/core", self.includes())

    def test_indirect_permission_is_no_permission(self):
        self.write("daemon/main.cpp", '// Main.\n#include "kernels/copy.hpp"\n')
        self.assertIn("daemon may not include kernels", self.includes())

    def test_new_folder_needs_a_row(self):
        self.write("daemon/new/a.cpp", "// New.\n")
        self.assertIn("daemon/new/a.cpp: its folder has no row", self.includes())

    def test_path_relative_to_the_file_is_refused(self):
        self.write("kernels/a.cpp", '// A.\n#include "copy.hpp"\n')
        self.assertIn('"copy.hpp" is not in the tree', self.includes())

    def test_own_header_in_angle_brackets_is_refused(self):
        self.write("kernels/a.cpp", "// A.\n#include <kvtier/result.hpp>\n")
        self.assertIn("is kvtier's own", self.includes())

    def test_library_outside_its_folders_is_refused(self):
        self.write("kernels/a.cpp", "// A.\n#include <boost/asio.hpp>\n#include <xxhash.h>\n")
        self.assertIn("kernels/a.cpp:2: Boost", self.includes())
        self.assertNotIn("xxHash", self.includes())

    def test_cycle_in_the_table_is_refused(self):
        self.write("docs/architecture.md", TABLE.replace("| `include` | - |", "| `include` | daemon/core |"))
        self.assertIn("a cycle: ", self.includes())

    def test_missing_table_is_refused(self):
        self.write("docs/architecture.md", "# Architecture\n")
        self.assertIn("no table", self.includes())


class Files(Tree):
    def test_good_tree_passes(self):
        self.assertEqual(self.files(), "")

    def test_missing_comment_is_refused(self):
        self.write("kernels/a.hpp", "#pragma once\n// Late.\n")
        self.write("tools/a.py", "#!/usr/bin/env python3\nimport sys\n")
        self.assertIn("kernels/a.hpp:1: no comment", self.files())
        self.assertIn("tools/a.py:1: no comment", self.files())

    def test_source_file_may_leave_the_comment_to_its_header(self):
        self.write("kernels/copy.cpp", '#include "kernels/copy.hpp"\n')
        self.write("tests/kernels/copy_test.cpp", '#include "kernels/copy.hpp"\n')
        self.assertEqual(self.files(), "")
        self.write("tests/kernels/other_test.cpp", '#include "kernels/copy.hpp"\n')
        self.assertIn("tests/kernels/other_test.cpp:1: no comment", self.files())

    def test_long_file_is_refused_until_it_has_a_reason(self):
        self.write("kernels/a.cpp", "// Long.\n" * 601)
        self.assertIn("kernels/a.cpp: 601 lines", self.files())
        self.write("tests/style/long_files.txt", "kernels/a.cpp | 601 | a table\n")
        self.assertEqual(self.files(), "")

    def test_row_for_a_file_that_is_gone_is_refused(self):
        self.write("tests/style/long_files.txt", "kernels/gone.cpp | 700 | a table\n")
        self.assertIn("does not exist any more", self.files())

    def test_path_of_a_machine_and_unfinished_work_are_refused(self):
        self.write("docs/a.md", "see /wo" + "rk/shared\n")
        self.write("kernels/a.cpp", "// TO" + "DO: later\n")
        self.assertIn("docs/a.md:1: a path of one machine", self.files())
        self.assertIn("kernels/a.cpp:1: unfinished work", self.files())


class Symbols(Tree):
    def test_export_that_is_not_public_is_found(self):
        self.write("lib.cpp", "namespace kvtier { int f() { return 1; } }\n"
                   'extern "C" int kvtier_f() { return 1; }\nint other() { return 1; }\n'
                   "namespace kvtier::wire { int g() { return 1; } }\n")
        library = str(self.root / "lib.so")
        subprocess.run(["c++", "-std=c++20", "-shared", "-fPIC", "-o", library,
                        str(self.root / "lib.cpp")], check=True)
        self.write("kvtier.h", "/* kvtier_old(): gone */\nint kvtier_f(void);\nint kvtier_gone(int);\n")
        problems = "\n".join(check_symbols.exports(library, str(self.root / "kvtier.h"))[0])
        self.assertIn("not exported: kvtier_gone", problems)
        self.assertNotIn("kvtier_old", problems)
        self.assertIn("other()", problems)
        self.assertIn("kvtier::wire::g()", problems)
        self.assertNotIn("kvtier::f", problems)
        self.assertNotIn("kvtier_f", problems)


if __name__ == "__main__":
    unittest.main()
