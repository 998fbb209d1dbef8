"""Privacy attributes by name, in one place: VISPR's 68, PA-HMDB51's five, and the lists that the papers train and judge on. Literal data.

| list | source |
|---|---|
| `VISPR` | Orekondy et al., ICCV 2017: the dataset's `attributes.tsv`, 67 attributes and `a0_safe`, in its order |
| `PA_HMDB51` | the values that Wu et al., TPAMI 2020, annotate in 515 videos of HMDB51 |
| `MERGED` | how those five are read from VISPR's labels: a face is complete or partial, a relationship personal or social |
| `UCF101_KNOWN`, `UCF101_NOVEL` | MPPAR (Peng et al., NeurIPS 2023), UCF101-VISPR: 7 of training, 7 of test time only |
| `HMDB51_KNOWN`, `HMDB51_NOVEL` | MPPAR, HMDB51-VISPR: 3 of training, 2 of test time only; merged names, for PA-HMDB51 is the test set |
| `VISPR_17` | the pilot study (Wu et al., ECCV 2018) |
| `VISPR_7` | TPAMI 2020, on UCF101 |
"""

from typing import Mapping

VISPR = (
    "a0_safe", "a1_age_approx", "a2_weight_approx", "a3_height_approx", "a4_gender", "a5_eye_color", "a6_hair_color", "a7_fingerprint",
    "a8_signature", "a9_face_complete", "a10_face_partial", "a11_tattoo", "a12_semi_nudity", "a13_full_nudity", "a16_race", "a17_color",
    "a18_ethnic_clothing", "a19_name_full", "a20_name_first", "a21_name_last", "a23_birth_city", "a24_birth_date", "a25_nationality",
    "a26_handwriting", "a27_marital_status", "a29_ausweis", "a30_credit_card", "a31_passport", "a32_drivers_license", "a33_student_id",
    "a35_mail", "a37_receipt", "a38_ticket", "a39_disability_physical", "a41_injury", "a43_medicine", "a46_occupation",
    "a48_occassion_work", "a49_phone", "a55_religion", "a56_sexual_orientation", "a57_culture", "a58_hobbies", "a59_sports",
    "a60_occassion_personal", "a61_opinion_general", "a62_opinion_political", "a70_education_history", "a99_legal_involvement",
    "a64_rel_personal", "a65_rel_social", "a66_rel_professional", "a67_rel_competitors", "a68_rel_spectators", "a69_rel_views",
    "a73_landmark", "a74_address_current_complete", "a75_address_current_partial", "a78_address_home_complete",
    "a79_address_home_partial", "a82_date_time", "a85_username", "a90_email", "a92_email_content", "a97_online_conversation",
    "a102_vehicle_ownership", "a103_license_plate_complete", "a104_license_plate_partial")

# Attribute -> meaning of its values 0, 1, ...; a label says that the attribute is present where its value is above 0.
PA_HMDB51 = {
    "skin_color": ("unidentifiable", "white", "brown or yellow", "black"),
    "face": ("invisible", "partial", "complete"),
    "gender": ("unidentifiable", "male", "female"),
    "nudity": ("none", "partial", "semi"),
    "relationship": ("none", "present"),
}

# Attribute of PA-HMDB51 -> those of VISPR of which any makes it present.
MERGED = {
    "skin_color": ("a17_color",),
    "face": ("a9_face_complete", "a10_face_partial"),
    "gender": ("a4_gender",),
    "nudity": ("a12_semi_nudity",),
    "relationship": ("a64_rel_personal", "a65_rel_social"),
}

UCF101_KNOWN = ("a17_color", "a4_gender", "a9_face_complete", "a10_face_partial", "a12_semi_nudity", "a64_rel_personal", "a65_rel_social")
UCF101_NOVEL = ("a6_hair_color", "a16_race", "a59_sports", "a1_age_approx", "a2_weight_approx", "a73_landmark", "a11_tattoo")
HMDB51_KNOWN = ("skin_color", "nudity", "relationship")
HMDB51_NOVEL = ("gender", "face")
VISPR_17 = (
    "a0_safe", "a1_age_approx", "a2_weight_approx", "a3_height_approx", "a4_gender", "a5_eye_color", "a6_hair_color", "a9_face_complete",
    "a10_face_partial", "a12_semi_nudity", "a16_race", "a17_color", "a46_occupation", "a58_hobbies", "a59_sports", "a64_rel_personal",
    "a65_rel_social")
VISPR_7 = ("a12_semi_nudity", "a46_occupation", "a58_hobbies", "a59_sports", "a64_rel_personal", "a65_rel_social", "a0_safe")


def merged(labels: Mapping[str, int]) -> dict[str, int]:
  """MERGED's five from labels of VISPR's attributes, each 1 present or 0 absent."""
  return {attribute: max(labels[part] for part in parts) for attribute, parts in MERGED.items()}
