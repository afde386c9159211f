# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Paperspace v1 API, with machines that can really break."""
